"""A lab's own state, credentials, certificates and stack file."""
