"""Reading a stack file: YAML, models, rules; its JSON Schema and the texts of its validation errors."""
