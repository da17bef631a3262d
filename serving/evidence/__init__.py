"""Evidence of an online experiment: exposures and outcomes, kept in SQL, read as aggregates."""
