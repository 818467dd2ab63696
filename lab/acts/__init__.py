"""Acts on a running lab: faults and rolls, and the evidence of what followed."""
