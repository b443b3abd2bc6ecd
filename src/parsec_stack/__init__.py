"""Run the deployment guide: its blocks, its artifacts, and the stack that they make."""
