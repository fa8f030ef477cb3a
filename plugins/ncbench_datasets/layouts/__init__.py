"""Readers of layouts on disk that several datasets share."""
