"""Loads a bundle, verifies it, and scores candidates exactly as training did. Entry: serving.ranker.ranker."""
