"""Pulumi as a lab uses it."""
