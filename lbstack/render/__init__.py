"""Render the configuration to the files of both nodes, and to the guestinfo that contains them."""
