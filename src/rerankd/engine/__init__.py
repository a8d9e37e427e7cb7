"""Engine: how many requests become few batches."""
