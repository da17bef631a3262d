"""Component: Ingest a log."""
