"""The local stack: every part of the serving side as processes of one machine, kept running."""
