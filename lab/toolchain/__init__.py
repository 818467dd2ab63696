"""Building and finding the programs of the lab: the engine, the plugin, the simulated vCenter."""
