"""What the metrics of a language have in common: pure functions of numpy arrays."""
