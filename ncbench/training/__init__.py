"""Training: one loop, its stages, checkpoints, selection and seeding."""
