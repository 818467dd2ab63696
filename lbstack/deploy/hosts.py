"""Look whether both VMs run on one host, in a preview for the VMs that there are, in an `up` when both are there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pulumi

from lbstack.config.choices import AntiAffinity
from lbstack.deploy.settings import Settings
from lbstack.facts.hosts import same_host
from lbstack.vcenter import hosts
from lbstack.vcenter.pin import VcenterError


def compare(settings: Settings, nodes: Mapping[str, Mapping[str, object]], owner: pulumi.Resource) -> None:
    """Warn where both are on one host, and report where that is not known. A stack without a rule wants neither.

    Args:
        settings: This run's configuration and login.
        nodes: Node → its part of the stack's outputs, whose ``uuid`` is known once there is a VM.
        owner: The resource under which the engine shows it.
    """
    if settings.stack.placement.anti_affinity is AntiAffinity.OFF:
        return

    async def look(known: dict[str, object]) -> bool:
        try:
            found = await asyncio.to_thread(
                hosts.hosts_of, settings.login, {node: str(uuid) for node, uuid in known.items()}
            )
        except VcenterError as error:
            pulumi.log.info(f"On which hosts the VMs run is unknown: {error}", owner)
            return False
        if unknown := [node for node, host in found.items() if not host]:
            pulumi.log.info(f"On which host {' and '.join(unknown)} runs is unknown: vCenter does not show it.", owner)
        if warning := same_host(found):
            pulumi.log.warn(warning, owner)
        return True

    uuids = pulumi.Output.from_input({node: entry["uuid"] for node, entry in nodes.items()})
    uuids.apply(look)  # type: ignore[arg-type]
