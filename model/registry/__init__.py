"""The model registry: versions with aliases and lineage, behind a gate."""
