"""The lab: a vSphere environment on one machine. Nothing in ``lbstack`` imports it."""
