"""Finding plugins: entry points, one broken plugin apart from the others, where each comes from, and new packages."""
