"""Finding the installed plugins, whatever one of them does wrong, and writing new ones."""
