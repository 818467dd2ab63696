"""The Pulumi program. Only the modules in here import Pulumi."""
