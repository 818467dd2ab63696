"""Paths and owners in the guest: the one place where each is written.

Imports nothing, so that a report that names a file need not load what renders it.
"""

from __future__ import annotations

ROOT = "root:root"
HAPROXY_CFG = "/etc/haproxy/haproxy.cfg"
STAGING = "/var/lib/lbstack/staging"
PUBLIC_KEY = "/etc/lbstack/stack.pub"

PROGRAM_DIRECTORY = "/usr/local/lib/lbstack"
STATE_MAP = "/run/lbstack/state.map"
TRACK_FILE = "/run/lbstack/haproxy.down"
ADMIN_SOCKET = "/run/haproxy/admin.sock"
SYSCTL_FILE = "/etc/sysctl.d/55-keepalived.conf"

SET_FILES = f"{STAGING}/files"
MANIFEST = f"{STAGING}/manifest.json"
SIGNATURE = f"{STAGING}/manifest.sig"

APPLIER = "/usr/local/lib/lbstack/lbstack-apply"
