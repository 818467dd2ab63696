"""Read stack files: YAML, models and rules; their JSON Schema and the texts of their validation errors."""
