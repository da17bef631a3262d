"""Component: put the registered pair under a rollout."""
