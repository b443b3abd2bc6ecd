"""Mutation testing of the guide: faults planted one at a time, to see whether docs-test notices."""
