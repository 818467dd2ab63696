"""What becomes of the lines of ``keepalived.conf`` and of ``.network`` files; see ``tables.py``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lbstack.scaffold.handbuilt.ledger import Verdict
from lbstack.scaffold.handbuilt.tables import Row

OURS, CORRECTED, NOT = Verdict.OURS, Verdict.CORRECTED, Verdict.NOT_EXPRESSED

_SCRIPT = "HAProxy's unit writes a track file, and a script asks HAProxy itself; weight 0"
_MAIL = "the pair sends no mail; `lbstack status` and the drift workflow tell"
_ONE = "all VIPs are on one node, so there is one instance"
_GARP = "announcements are the program's: again every minute, and after a lower advert"
VRRP: Mapping[str, Row] = MappingProxyType(
    {
        "global_defs": Row(OURS, "global settings are the program's"),
        "vrrp_skip_check_adv_addr": Row(OURS, "every advert is checked"),
        "enable_script_security": Row(OURS, "on"),
        "script_user": Row(OURS, "root, for a program that only root can change"),
        "vrrp_version": Row(OURS, "VRRP version 3"),
        "version": Row(OURS, "VRRP version 3"),
        "vrrp_strict": Row(OURS, "never: it forbids unicast"),
        "vrrp_mcast_group4": Row(OURS, "adverts are unicast"),
        "vrrp_iptables": Row(OURS, "the filter of the set has the rules"),
        "mcast_src_ip": Row(OURS, "adverts are unicast"),
        "dynamic_interfaces": Row(OURS, "the node has one interface"),
        "notification_email": Row(NOT, _MAIL),
        "notification_email_from": Row(NOT, _MAIL),
        "smtp_server": Row(NOT, _MAIL),
        "smtp_connect_timeout": Row(NOT, _MAIL),
        "smtp_alert": Row(NOT, _MAIL),
        "lvs_sync_daemon": Row(NOT, "connections are balanced by HAProxy, not by the kernel"),
        "vrrp_sync_group": Row(OURS, _ONE),
        "group": Row(OURS, _ONE),
        "vrrp_instance": Row(OURS, _ONE),
        "track_script": Row(CORRECTED, _SCRIPT, "A9"),
        "track_file": Row(OURS, _SCRIPT),
        "track_process": Row(OURS, _SCRIPT),
        "track_interface": Row(OURS, "keepalived watches the interface of its instance"),
        "authentication": Row(CORRECTED, "VRRPv3 has none; the peer's address is checked, and the filter", "A5"),
        "auth_type": Row(CORRECTED, "VRRPv3 has none; the peer's address is checked, and the filter", "A5"),
        "auth_pass": Row(CORRECTED, "there is no password any more", "A6"),
        "accept": Row(OURS, "keepalived accepts traffic to its VIPs"),
        "native_ipv6": Row(NOT, "only IPv4 is supported"),
        "use_vmac": Row(OURS, "no virtual MAC, which a vSphere port group would refuse"),
        "vmac_xmit_base": Row(OURS, "no virtual MAC, which a vSphere port group would refuse"),
        "dont_track_primary": Row(OURS, "the interface is watched"),
        "debug": Row(OURS, "keepalived logs to the journal"),
        "garp_master_delay": Row(OURS, _GARP),
        "garp_master_refresh": Row(OURS, _GARP),
        "garp_master_repeat": Row(OURS, _GARP),
        "vrrp_garp_master_delay": Row(OURS, _GARP),
        "vrrp_garp_master_refresh": Row(OURS, _GARP),
        "vrrp_garp_master_repeat": Row(OURS, _GARP),
        "vrrp_garp_lower_prio_delay": Row(OURS, _GARP),
        "vrrp_garp_lower_prio_repeat": Row(OURS, _GARP),
        "vrrp_higher_prio_send_advert": Row(OURS, _GARP),
        "higher_prio_send_advert": Row(OURS, _GARP),
        "vrrp_startup_delay": Row(OURS, "a node waits by its track file until HAProxy serves"),
        "preempt": Row(OURS, "vrrp.preemption; off unless you set it"),
        "notify": Row(NOT, "keepalived's one notify program is the program's own"),
        "notify_master": Row(NOT, "keepalived's one notify program is the program's own"),
        "notify_backup": Row(NOT, "keepalived's one notify program is the program's own"),
        "notify_fault": Row(NOT, "keepalived's one notify program is the program's own"),
        "notify_stop": Row(NOT, "keepalived's one notify program is the program's own"),
        "virtual_routes": Row(NOT, "routes that move with the VIPs cannot be expressed"),
        "virtual_rules": Row(NOT, "routes that move with the VIPs cannot be expressed"),
        "virtual_server": Row(NOT, "keepalived's own balancing (IPVS): write a service of kind tcp for it"),
        "virtual_server_group": Row(NOT, "keepalived's own balancing (IPVS): write a service of kind tcp for it"),
        "include": Row(NOT, "the file that it names was not read: copy its lines to its place"),
    }
)
"""Statements of `keepalived.conf` that no function handles."""

NETWORK: Mapping[str, Row] = MappingProxyType(
    {
        "[Match]": Row(OURS, "a heading"),
        "[Network]": Row(OURS, "a heading"),
        "[DHCP]": Row(OURS, "a heading"),
        "[DHCPv4]": Row(OURS, "a heading"),
        "[Link]": Row(OURS, "a heading"),
        "[Address]": Row(OURS, "a heading"),
        "DHCP": Row(OURS, "the nodes' addresses are static"),
        "IPv6AcceptRA": Row(OURS, "off"),
        "LinkLocalAddressing": Row(OURS, "off"),
        "UseDNS": Row(OURS, "without DHCP there is nothing to use"),
        "UseDomains": Row(OURS, "without DHCP there is nothing to use"),
        "ClientIdentifier": Row(OURS, "without DHCP there is nothing to identify"),
    }
)
"""Settings of `.network` files that no function handles."""
