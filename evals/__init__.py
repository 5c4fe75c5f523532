"""One file per evaluation. Each has `Options` and `evaluate(trained, options)`."""
