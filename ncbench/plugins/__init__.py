"""Finding plugins: entry points, isolation of broken ones, and where each card came from."""
