"""Features of a model: what is saved of a run's own, and what is read of anyone's.

Files are not trusted: nothing is unpickled, and one that is damaged or does not fit is an error that says so.
"""
