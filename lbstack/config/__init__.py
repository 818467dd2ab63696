"""The configuration of one stack: models, the form of each field, and the rules between fields."""
