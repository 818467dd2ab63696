"""The tier of the real engine. It is a package so that its lab ends when a worker goes on to another tier."""
