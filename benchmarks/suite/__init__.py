"""All benchmarks as one: run together, and compared with the results that are stored."""
