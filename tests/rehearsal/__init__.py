"""The tier of guests that boot. It is a package so that its lab ends when a worker goes on to another tier."""
