"""Component: Package a model for serving."""
