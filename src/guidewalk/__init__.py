"""Read, run and account for a guide: every literal block of any Sphinx project.

Nothing here knows what the guide is about; what a deployment has of its own, it hands in.
"""
