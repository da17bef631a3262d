"""Are the statistics right? Error rates, coverage and power over simulated experiments, and real ones."""
