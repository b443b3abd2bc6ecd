"""The docs-test: does the guide work as a reader follows it, from an empty folder?"""
