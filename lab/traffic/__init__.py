"""Clients, and the report of what they observed."""
