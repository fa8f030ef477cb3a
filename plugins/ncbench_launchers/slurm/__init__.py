"""Runs as elements of Slurm's job arrays."""
