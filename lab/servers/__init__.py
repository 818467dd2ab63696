"""The servers behind the VIPs, and their DNS."""
