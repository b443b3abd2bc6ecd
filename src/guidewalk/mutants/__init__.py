"""Mutation testing of the guide: plant faults one at a time, to see whether docs-test notices."""
