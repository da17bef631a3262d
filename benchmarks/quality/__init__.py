"""Do the models rank better? All architectures and gradient-boosted trees on one real log, tuned with equal budgets."""
