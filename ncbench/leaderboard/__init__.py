"""The leaderboard: a function of the records in its archive, and of git's history where they contend.

``leaderboard/results/<dataset>/<method>/<sha256>.json`` is append-only; ``leaderboard.json`` and ``README.md`` are
built from it. Records come from strangers: no accuracy is shown that the integers in its record do not bear out; what
cannot be recomputed (heights in a class hierarchy, curves) is said to be the record's own word. Nothing in this package
imports torch.
"""
