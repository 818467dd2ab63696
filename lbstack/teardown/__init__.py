"""Destroying lab stacks, and only lab stacks."""
