"""A lab as a whole: start, stop, status, doctor."""
