"""The gateway that splits traffic: Envoy's configuration, its live weights, and the assignment as a function."""
