"""Component: Make the TorchServe archive of a bundle."""
