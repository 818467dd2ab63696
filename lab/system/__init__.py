"""This computer: processes, daemons, Debian packages, uv, the cache."""
