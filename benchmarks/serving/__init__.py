"""Open-loop load on the ranking servers and their peers. Entry: python -m benchmarks.serving."""
