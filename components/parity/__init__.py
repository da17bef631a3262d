"""Component: Check that a bundle serves what was evaluated."""
