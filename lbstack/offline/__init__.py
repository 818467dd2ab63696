"""Render and check a stack without a vCenter, without the engine and without its secrets."""
