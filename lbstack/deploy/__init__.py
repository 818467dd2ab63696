"""The Pulumi program. Only the modules in this package import Pulumi."""
