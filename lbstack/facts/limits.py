"""How long everything may take that is waited for. What contains something else is the sum of its parts.

Else the outer limit ends what the inner one still allows: a run is cut short while a node installs its packages, and
the second node is never changed. The guest program's limits stand in ``cloudinit/guest/lbstack-apply`` under the same
names; it is copied to a node as it is and cannot import them, so a test compares them.
"""

from __future__ import annotations

# -- one question ------------------------------------------------------------------------------------------------------

QUESTION_S = 2.0
"""One question to a node, in all; a node that needs longer does not serve users either."""

# -- the guest program -------------------------------------------------------------------------------------------------

LOCK_WAIT_S, ADDRESS_WAIT_S, HEALTH_WAIT_S, VRRP_WAIT_S = 60.0, 60.0, 45.0, 20.0
JOB_S, INSTALL_S, UPGRADE_S = 120.0, 900.0, 1800.0
PACKAGES_S = ADDRESS_WAIT_S + 2 * INSTALL_S  # `tdnf makecache` and `tdnf install`; the first boot of an image only
DAEMONS_S = 2 * JOB_S  # HAProxy and keepalived are restarted
VERIFY_S = 3 * (HEALTH_WAIT_S + VRRP_WAIT_S)
"""A set that is not healthy is rolled back; where the one before is not either, the new one is tried once more."""
APPLY_S = LOCK_WAIT_S + PACKAGES_S + 3 * DAEMONS_S + VERIFY_S

# -- a node ------------------------------------------------------------------------------------------------------------

READY_S = 300.0
"""A boot with its VMware checks takes a minute or two, an image that waits for a DHCP server two more."""


def serving_s(*, upgrade: bool) -> float:
    """From the end of the provider's work on a node until the node serves its set, or reports why it does not.

    Nobody outside knows whether a boot is the first of an image, so each is given the time for packages.

    Args:
        upgrade: Whether a first boot, or a generation of the packages, upgrades all of them too. A generation on a
            node that runs is no longer: it makes one transaction, and goes down at most once (``READY_S``).
    """
    return READY_S + APPLY_S + (UPGRADE_S if upgrade else 0.0)


# -- the provider, on one VM ------------------------------------------------------------------------------------------

GUEST_NET_MIN = 5
"""``wait_for_guest_net_timeout`` with ``rollout.gate: false``: its default; 0 means no wait, and with the gate nobody
needs it. The program sets no ``customTimeouts``, so no other limit cuts it."""
CLONE_S = 1800.0  # the default of `clone.timeout`, which the program leaves alone
SHUTDOWN_S = 180.0  # the default of `shutdown_wait_timeout`; then the VM is switched off
REMOVE_S = SHUTDOWN_S + 120.0  # and its files are deleted
STEP_S = REMOVE_S + CLONE_S + GUEST_NET_MIN * 60.0
"""The longest: a VM is replaced. A change with a reboot is a part of it."""

# -- a run of the engine ----------------------------------------------------------------------------------------------

LOOK_UPS_S = 300.0
"""A preview takes seconds; a vCenter that is slow on every call takes a minute or two."""
UP_S = LOOK_UPS_S + 2 * READY_S + 2 * (STEP_S + serving_s(upgrade=True))
"""Twice ``READY_S``: the gate before the first node, and folder, tags and rule."""
DESTROY_S = LOOK_UPS_S + 2 * REMOVE_S
GRACE_S = {"up": STEP_S, "destroy": REMOVE_S}
"""For an engine that was asked to end: it ends the step that it has begun. Killed in the middle it would leave a locked
state and a VM of which it knows nothing."""

# -- a job of the workflows --------------------------------------------------------------------------------------------

SETUP_S = 600.0
"""Check out the repository, and install lbstack and the engine."""
UP_JOB_S = SETUP_S + UP_S + GRACE_S["up"]
DESTROY_JOB_S = SETUP_S + DESTROY_S + GRACE_S["destroy"]
