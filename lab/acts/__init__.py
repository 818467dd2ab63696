"""What a person lets happen to a running lab: faults, rolls, and the evidence of what followed."""
