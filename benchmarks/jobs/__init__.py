"""Jobs and bulk work through a real Redis to real workers, against the library: `python -m benchmarks.jobs`."""
