"""The store: a dataset decoded once; how it is built, opened, checked and verified."""
