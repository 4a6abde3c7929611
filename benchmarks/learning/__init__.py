"""What can be learned, from how much, and how fast: see `python -m benchmarks.learning --help`."""
