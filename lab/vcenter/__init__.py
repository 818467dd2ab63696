"""The simulated vCenter: its server, its clients, its content library."""
