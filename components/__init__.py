"""Pipeline steps as Kubeflow components: thin wrappers over `model`, one folder each."""
