"""The leaderboard: a pure function of the records in its archive.

``leaderboard/results/<dataset>/<method>/<sha256>.json`` is append-only; ``leaderboard.json`` and ``README.md`` are
built from it. Records come from strangers: no number is shown that the integers in its record do not bear out. Nothing
in this package imports torch.
"""
