"""Every figure: curves over epochs, Gram matrices, and frames seen from where they look regular."""
