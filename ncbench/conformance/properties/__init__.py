"""What must hold of every plugin, and of each kind: what the kit checks."""
