"""The tables of the board: rows, intervals over seeds, ranks over datasets, and numbers that others report."""
