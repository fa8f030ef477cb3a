"""Finished runs: what they were made from, the method that they left, and what is built on it."""
