"""Render and check a stack without vCenter, without the engine and without its secrets."""
