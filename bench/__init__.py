"""Figures, each besides its baseline in the same run. Nothing here passes or fails; bars stand next to figures."""
