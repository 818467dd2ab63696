"""Figures, each beside its baseline in the same run. Nothing here passes or fails; bars stand beside figures."""
