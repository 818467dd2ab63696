"""Benchmarks: each figure with its baseline in the same run. Nothing passes or fails; bars are shown with figures."""
