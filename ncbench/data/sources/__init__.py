"""A dataset's sources: its manifest, where its files may lie, and how they are fetched."""
