"""The order in which the two nodes are changed, and the gate between the two changes.

The rules are in ``lbstack/nodes/gate.py``, what they need to know of this run in ``course.py`` there. This module makes
the VMs depend on the answers. The gate is in the data flow and not in a resource hook, because a failed hook is not
repeated on a rerun, and any delete hook stops a plain `pulumi destroy` (docs/adr/0003-the-gate-is-data.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pulumi

from lbstack.config.models import StackConfig
from lbstack.deploy.sdk import vsphere
from lbstack.facts import limits
from lbstack.nodes import gate, health
from lbstack.nodes.course import Course, Watch
from lbstack.nodes.health import Answer
from lbstack.nodes.seen import Seen
from lbstack.nodes.waits import Progress

Dependencies = pulumi.Output[list[pulumi.Resource]]


@dataclass(frozen=True)
class Roll:
    """One roll over both nodes. Makes no resource.

    Args:
        course: Who comes first, and what each step waits for.
        watch: Asks the nodes all the time; None where they are not asked: in a preview, and with
            ``rollout.gate: false``.
    """

    course: Course
    watch: Watch | None

    @property
    def order(self) -> tuple[int, int]:
        """Positions in ``nodes``, in the order in which they are changed."""
        return self.course.order

    def before_first(self, owner: pulumi.Resource) -> Dependencies | None:
        """What the first node depends on: that it may be changed at all.

        Args:
            owner: The resource under which the engine shows what is waited for.
        """
        if not self.watch:
            return None

        async def opened() -> list[pulumi.Resource]:
            await self._wait(self.course.open_first, owner)
            return []

        return pulumi.Output.from_input(opened())

    def before_second(self, first: vsphere.VirtualMachine, owner: pulumi.Resource) -> Dependencies:
        """What the second node depends on: the first one, and in a real run that it serves the wanted set.

        Args:
            first: The VM of the first node.
            owner: The resource under which the engine shows what is waited for.
        """

        async def passed(_: object) -> list[pulumi.Resource]:
            if self.watch:
                await self._wait(self.course.open_second, owner)
            return [first]

        return first.extra_config.apply(passed)

    def served(self, second: vsphere.VirtualMachine, owner: pulumi.Resource) -> pulumi.Input[str]:
        """The hash of the set that both nodes serve: known once the second node serves it.

        Args:
            second: The VM of the second node.
            owner: The resource under which the engine shows what is waited for.
        """
        watch = self.watch
        if not watch:
            return self.course.wanted

        async def serving(_: object) -> str:
            await self._wait(self.course.both_serve, owner)
            watch.stop()
            return self.course.wanted

        return second.id.apply(serving)  # known as soon as the VM was changed, and no secret

    async def _wait(self, wait: Callable[[Progress], None], owner: pulumi.Resource) -> None:
        try:
            await _wait(wait, owner)
        except pulumi.RunError:
            if self.watch:
                self.watch.stop()
            raise


async def _wait(wait: Callable[[Progress], None], owner: pulumi.Resource | None) -> None:
    """Wait in a thread, so that the event loop goes on; a gate that stays closed ends the run with its message."""
    loop = asyncio.get_running_loop()

    def progress(line: str) -> None:
        # The engine's log may only be written to from the event loop's own thread.
        loop.call_soon_threadsafe(lambda: pulumi.log.info(line, owner, ephemeral=True))

    try:
        await asyncio.to_thread(wait, progress)
    except gate.GateClosed as error:
        raise pulumi.RunError(str(error)) from error


async def announcements(config: StackConfig, seen: Seen | None = None) -> Mapping[str, Answer]:
    """Ask both nodes what they can do, in a preview too; once, at the same time, and so within one question's time.

    Args:
        config: The validated configuration.
        seen: Keeps what they answer, for the roll.

    Returns:
        Node name → answer; nothing with ``rollout.gate: false``.
    """
    if not config.rollout.gate:
        return {}
    targets = health.targets_of(config)
    answers = await asyncio.gather(*(asyncio.to_thread(health.ask, target) for target in targets))
    if seen:
        seen.note(targets, answers)
    return {target.name: answer for target, answer in zip(targets, answers, strict=True)}


async def begin(
    config: StackConfig,
    wanted: str,
    *,
    live: Collection[str] = (),
    absent: Collection[str] = (),
    new: bool = False,
    early: Seen | None = None,
) -> Roll:
    """Ask both nodes which one is changed first; not in a preview, nor with ``rollout.gate: false``.

    Args:
        config: The validated configuration.
        wanted: Hash of the set that both nodes are to serve.
        live: The names of the nodes that are changed while they run.
        absent: The names of the nodes whose VM is not there.
        new: Whether the stack has certainly no VM anywhere: this run makes the pair.
        early: What the nodes have answered in this run already.

    Raises:
        pulumi.RunError: This runner could not reach the nodes at all; nothing was made or changed.
    """
    course = Course(
        health.targets_of(config),
        wanted,
        limits.serving_s(upgrade=config.packages.upgrades),
        live=live,
        absent=absent,
        fresh=new,
        preemption=config.vrrp.preemption,
        early=early,
    )
    if not config.rollout.gate or pulumi.runtime.is_dry_run():
        return Roll(course, None)
    await _wait(course.begin, None)
    watch = Watch(course)
    watch.start()
    return Roll(course, watch)
