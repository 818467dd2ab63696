"""Query running nodes: their health endpoint, the gate of a roll, the live status."""
