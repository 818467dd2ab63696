"""Run the `pulumi` command: its process, its events, its values, its record of a stack, its errors."""
