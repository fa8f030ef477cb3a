"""From a dataset's source files to batches on the run's device.

A manifest says what a dataset is and where it comes from; `prepare` turns its sources into a store of decoded images,
once; the loader feeds a store to the training loop.
"""
