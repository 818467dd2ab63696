"""The simulated vCenter as seen from the lab."""
