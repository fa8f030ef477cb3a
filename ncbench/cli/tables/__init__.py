"""What commands print: a run, runs side by side, and the collapse of saved features."""
