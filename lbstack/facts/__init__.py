"""What is known without any input: service kinds, Photon releases, ports and names."""
