"""Define guest paths and file owners: each is written once here.

``facts/releases.py`` has the paths of the image's own files. This module imports nothing, so that a report that names a
file need not load the renderer.
"""

from __future__ import annotations

ROOT = "root:root"
NETWORKD = "systemd-network:systemd-network"
"""Owner of the network files: networkd reads no file that it has no permission for."""

# Configuration files of the set.
HAPROXY_DIRECTORY = "/etc/haproxy"
HAPROXY_CFG = f"{HAPROXY_DIRECTORY}/haproxy.cfg"
KEEPALIVED_DIRECTORY = "/etc/keepalived"
KEEPALIVED_CONF = f"{KEEPALIVED_DIRECTORY}/keepalived.conf"
PACKAGES_CA = "/var/lib/lbstack/packages.pem"
"""CA of the package repository, written by the applier from node.json before it fetches packages."""
STATIC_NETWORK = "/etc/systemd/network/10-static-en.network"
DHCP_NETWORK = "/etc/systemd/network/99-dhcp-en.network"
SYSCTL_FILE = "/etc/sysctl.d/55-keepalived.conf"
TMPFILES = "/etc/tmpfiles.d/lbstack.conf"
TIMESYNCD_CONF = "/etc/systemd/timesyncd.conf.d/lbstack.conf"
REPOSITORY_DIRECTORY = "/etc/yum.repos.d"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"

# The packet filter: the iptables service of Photon OS loads these two files.
RULES_DIRECTORY = "/etc/systemd/scripts"
IPV4_RULES = f"{RULES_DIRECTORY}/ip4save"
IPV6_RULES = f"{RULES_DIRECTORY}/ip6save"

# Units and drop-ins of the set.
UNIT_DIRECTORY = "/etc/systemd/system"
IPTABLES_UNIT = f"{UNIT_DIRECTORY}/iptables.service"
HAPROXY_DROPIN = f"{UNIT_DIRECTORY}/haproxy.service.d/lbstack.conf"
KEEPALIVED_DROPIN = f"{UNIT_DIRECTORY}/keepalived.service.d/lbstack.conf"
APPLY_UNIT = f"{UNIT_DIRECTORY}/lbstack-apply.service"
VERIFY_UNIT = f"{UNIT_DIRECTORY}/lbstack-verify.service"
WATCH_UNIT = f"{UNIT_DIRECTORY}/lbstack-watch.service"
LIVE_UNIT = f"{UNIT_DIRECTORY}/lbstack-live.service"
LOOK_UNIT = f"{UNIT_DIRECTORY}/lbstack-look.service"

# What the applier needs to know, the hash of root's password, and the key that signatures are verified with.
NODE_JSON = "/etc/lbstack/node.json"
ROOT_SHADOW = "/etc/lbstack/root.shadow"
PUBLIC_KEY = "/etc/lbstack/stack.pub"

# Programs of the set.
PROGRAM_DIRECTORY = "/usr/local/lib/lbstack"
APPLIER = f"{PROGRAM_DIRECTORY}/lbstack-apply"
CHECK_PROGRAM = f"{PROGRAM_DIRECTORY}/lbstack-check"
FIREWALL_PROGRAM = f"{PROGRAM_DIRECTORY}/lbstack-firewall"
NOTIFY_PROGRAM = f"{PROGRAM_DIRECTORY}/lbstack-notify"
VIPS_PROGRAM = f"{PROGRAM_DIRECTORY}/lbstack-vips"
WATCH_PROGRAM = f"{PROGRAM_DIRECTORY}/lbstack-watch"
PROGRAMS = (APPLIER, CHECK_PROGRAM, FIREWALL_PROGRAM, NOTIFY_PROGRAM, VIPS_PROGRAM, WATCH_PROGRAM)

# Runtime files.
RUNTIME_DIRECTORY = "/run/lbstack"
STATE_MAP = f"{RUNTIME_DIRECTORY}/state.map"
SERVER_STATES = f"{RUNTIME_DIRECTORY}/servers.state"
"""What HAProxy knows of its servers, which the applier writes just before a reload for the next worker."""
TRACK_FILE = f"{RUNTIME_DIRECTORY}/haproxy.down"
ADMIN_SOCKET = "/run/haproxy/admin.sock"

# Written by cloud-init at the first boot: the host name, and the staged set with its signed manifest.
HOSTNAME = "/etc/hostname"
STAGING = "/var/lib/lbstack/staging"
SET_FILES = f"{STAGING}/files"
MANIFEST = f"{STAGING}/manifest.json"
SIGNATURE = f"{STAGING}/manifest.sig"
BOOTSTRAP = f"{STAGING}/bootstrap/lbstack-apply"
"""The applier as a first boot gets it, which reads the set itself from guestinfo (``keys.py``)."""
