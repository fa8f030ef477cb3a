"""The record of a run, the archive of records, and how they are shown."""
