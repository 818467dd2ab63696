"""Query vCenter without the provider: which vCenter it is, and which names it has."""
