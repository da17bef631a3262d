"""Component: Build a macro graph."""
