"""Statistics of an online experiment: sufficient statistics in, verdict out."""
