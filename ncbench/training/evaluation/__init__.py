"""How good predictions are: those of a method that trains, and anyone's in a table."""
