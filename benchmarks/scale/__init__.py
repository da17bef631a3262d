"""One ranking server with many users and items: memory, time to load, latency."""
