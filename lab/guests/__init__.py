"""Guests: Debian made to behave like Photon OS, booted in systemd-nspawn."""
