"""The standard record of a run: its schema, its folder on disk, and the table of many."""
