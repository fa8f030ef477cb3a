"""The command line: its commands, the tables they print, and the progress of a run.

No module imports anything heavy at the top: ``--help`` and ``list`` must stay fast.
"""
