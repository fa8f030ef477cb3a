"""Features of a model: what is saved of a run, and what is read of anyone's."""
