"""What a user writes about one environment: models, the form of each field, and the rules between fields."""
