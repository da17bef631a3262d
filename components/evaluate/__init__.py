"""Component: Evaluate one model."""
