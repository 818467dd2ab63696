"""Destroy lab stacks, and only lab stacks."""
