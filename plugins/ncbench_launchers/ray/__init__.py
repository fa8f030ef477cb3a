"""Runs as actors of a Ray cluster."""
