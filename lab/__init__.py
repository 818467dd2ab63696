"""The lab: a vSphere that fits on one machine. Nothing in ``lbstack`` imports it."""
