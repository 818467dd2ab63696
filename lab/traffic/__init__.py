"""Clients and the report of what they felt."""
