"""Read, run and account for a guide: every literal block of any Sphinx project.

Nothing here knows what the guide is about. What a deployment has of its own, it passes in.
"""
