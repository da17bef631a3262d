"""Ranking science: logs, macro graphs, architectures, training, evaluation. Knows nothing of Kubernetes or HTTP."""
