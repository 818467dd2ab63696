"""The order in which the two nodes are changed, and the gate between the two changes.

The rules are in ``lbstack/nodes/gate.py``. This module queries the nodes and makes the VMs depend on the answers. The
gate is in the data flow and not in a resource hook, because a failed hook is not repeated on a rerun, and any delete
hook stops a plain `pulumi destroy` (docs/adr/0003-the-gate-is-data.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pulumi

from lbstack.config.models import StackConfig
from lbstack.deploy.sdk import vsphere
from lbstack.nodes import gate, health

STANDBY_FIRST = (1, 0)  # positions in `nodes`: the preferred standby, then the preferred master

Dependencies = pulumi.Output[list[pulumi.Resource]]


@dataclass(frozen=True)
class Roll:
    """One roll over both nodes. Makes no resource.

    Args:
        order: Positions in ``nodes``, in the order in which they are changed.
        targets: Both nodes, in the order of the stack file.
        wanted: Hash of the set that both have to serve in the end.
        gated: Whether the nodes are asked: not in a preview, and not with ``rollout.gate: false``.
        nobody_served: Whether neither node answered when the roll began.
        limit_s: How long a wait for a node may take, in seconds.
    """

    order: tuple[int, int]
    targets: Sequence[health.Target]
    wanted: str
    gated: bool
    nobody_served: bool
    limit_s: float

    def before_first(self, owner: pulumi.Resource) -> Dependencies | None:
        """What the first node depends on: that it may be changed at all.

        Args:
            owner: The resource under which the engine shows what is waited for.
        """
        if not self.gated:
            return None
        return pulumi.Output.from_input(self._opened(*self._in_order(), None, owner))

    def before_second(self, first: vsphere.VirtualMachine, owner: pulumi.Resource) -> Dependencies:
        """What the second node depends on: the first one, and in a real run that it serves the wanted set.

        Args:
            first: The VM of the first node.
            owner: The resource under which the engine shows what is waited for.
        """
        peer, node = self._in_order()

        async def passed(_: object) -> list[pulumi.Resource]:
            if self.gated:
                await self._opened(node, peer, self.wanted, owner)
            return [first]

        return first.extra_config.apply(passed)

    def served(self, second: vsphere.VirtualMachine, owner: pulumi.Resource) -> pulumi.Input[str]:
        """The hash of the set that both nodes serve: known once the second node serves it.

        Args:
            second: The VM of the second node.
            owner: The resource under which the engine shows what is waited for.
        """
        if not self.gated:
            return self.wanted
        peer, node = self._in_order()

        async def serving(_: object) -> str:
            await self._wait(lambda patience: gate.require_serving(node, peer, self.wanted, patience), owner)
            return self.wanted

        return second.id.apply(serving)  # known as soon as the VM was changed, and no secret

    def _in_order(self) -> tuple[health.Target, health.Target]:
        first, second = self.order
        return self.targets[first], self.targets[second]

    async def _opened(
        self, node: health.Target, peer: health.Target, wanted_of_peer: str | None, owner: pulumi.Resource
    ) -> list[pulumi.Resource]:
        """Wait until a node may be changed."""
        await self._wait(
            lambda patience: gate.require_open(node, peer, wanted_of_peer, patience, nobody_served=self.nobody_served),
            owner,
        )
        return []

    async def _wait(self, wait: Callable[[gate.Patience], None], owner: pulumi.Resource) -> None:
        """Wait in a thread, so that the event loop goes on; a gate that stays closed ends the run with its message."""
        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:
            # The engine's log may only be written to from the event loop's own thread.
            loop.call_soon_threadsafe(lambda: pulumi.log.info(line, owner, ephemeral=True))

        try:
            await asyncio.to_thread(wait, gate.Patience(progress, timeout_s=self.limit_s))
        except gate.GateClosed as error:
            raise pulumi.RunError(str(error)) from error


def begin(config: StackConfig, wanted: str) -> Roll:
    """Ask both nodes which one is changed first. A preview asks nobody, nor does a stack with ``rollout.gate: false``.

    Args:
        config: The validated configuration.
        wanted: Hash of the set that both nodes are to serve.

    Raises:
        pulumi.RunError: This runner could not reach the nodes at all; nothing was made or changed.
    """
    networks = config.management_networks
    targets = [health.Target(node.name, str(node.address), management=networks) for node in config.nodes]
    limit_s = gate.READY_TIMEOUT_S + (gate.UPGRADE_TIMEOUT_S if config.packages.upgrade else 0.0)
    if not config.rollout.gate or pulumi.runtime.is_dry_run():
        return Roll(STANDBY_FIRST, targets, wanted, gated=False, nobody_served=False, limit_s=limit_s)
    with ThreadPoolExecutor(len(targets)) as pool:
        answers = list(pool.map(health.ask, targets))
    try:
        gate.require_askable(targets, answers)
    except gate.GateClosed as error:
        raise pulumi.RunError(str(error)) from error
    nobody = not any(answer.config_hash for answer in answers)
    return Roll(gate.touch_order(targets, answers), targets, wanted, gated=True, nobody_served=nobody, limit_s=limit_s)
