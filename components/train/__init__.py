"""Component: Train one model."""
