"""Artifacts: folders with a manifest, written whole or not at all, kept in a folder or on S3."""
