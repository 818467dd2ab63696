"""The lab's network: namespaces, a switch, frames, the capture."""
