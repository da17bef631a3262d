"""Faults on a real local stack under users: how soon traffic is safe, and what is lost."""
