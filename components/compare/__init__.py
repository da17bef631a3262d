"""Component: Compare candidate and baseline."""
