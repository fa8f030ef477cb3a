"""From a store to batches on the run's device: the loader and augmentation."""
