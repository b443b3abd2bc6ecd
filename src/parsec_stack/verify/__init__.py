"""The docs-test: check that the guide works as a reader follows it, from an empty folder."""
