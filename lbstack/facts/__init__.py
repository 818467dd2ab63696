"""Facts that need no input: service kinds, Photon releases, ports and names."""
