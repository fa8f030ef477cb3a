"""What is made of other data: colourings, corruptions, and the pictures of synthetic twins."""
