"""Component: Register both models."""
