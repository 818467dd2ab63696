"""From validated settings to the deployed pair.

The set is rendered and packed in a thread while the provider's plugin starts and looks the names up, because a preview
waits for both. Nothing is registered before both have succeeded: a name that does not exist, or a set that does not
fit, leaves no folder and no tag behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pulumi

from lbstack.config.advice import advice
from lbstack.config.choices import Mode
from lbstack.deploy import hosts
from lbstack.deploy.manner import Known, Way, for_release_before, manner
from lbstack.deploy.placement import PlacementIds, find_placement
from lbstack.deploy.roll import announcements, begin
from lbstack.deploy.sdk import vsphere
from lbstack.deploy.settings import Settings
from lbstack.nodes.health import Answer
from lbstack.nodes.seen import Seen
from lbstack.problems import LbstackError

if TYPE_CHECKING:
    from lbstack.deploy.pair import PairArgs

OUTPUTS = ("vips", "stats_url", "service_urls", "nodes", "files", "config_hash", "horizon_settings", "lifecycle")
"""What the stack exports: ``LoadBalancerPair.exports``."""
UNSEEN = (
    "The tags of the VMs could not be read in vCenter, so this run leaves them as they are: a changed `placement.tags` "
    "waits for the next run."
)


def deploy(settings: Settings, provider: vsphere.Provider) -> dict[str, pulumi.Output[Any]]:
    """Make the pair.

    Args:
        settings: This run's configuration, secrets and login.
        provider: The explicit provider of the stack's vCenter.

    Returns:
        The stack's outputs by name. Where something is wrong, they end the run with every problem in one message.
    """
    for problem in advice(settings.stack):
        pulumi.log.warn(str(problem))
    seen = Seen()
    prepared: pulumi.Output[PairArgs] = pulumi.Output.from_input(_prepare(settings, provider, seen))

    async def make(args: PairArgs) -> dict[str, object]:
        from lbstack.deploy.pair import LoadBalancerPair  # noqa: PLC0415 - imported by _pair_args in its thread

        if any(each.tags is None for each in args.place.marks.values()):
            pulumi.log.warn(UNSEEN)
        live = [name for name, each in args.manners.items() if each.way is Way.LIVE]
        for name, each in args.manners.items():
            if each.way is Way.REBOOT and each.reason and settings.stack.rollout.mode is Mode.LIVE:
                pulumi.log.warn(f"{name} is changed with a reboot: {each.reason}.")
        absent = [node.name for node in settings.stack.nodes if node.name not in args.place.marks]
        roll = await begin(settings.stack, args.config_hash, live=live, absent=absent, new=args.place.new, early=seen)
        pair = LoadBalancerPair("pair", args, roll, pulumi.ResourceOptions(providers=[provider]))
        hosts.compare(settings, pair.nodes, pair)
        return pair.exports

    exports: pulumi.Output[dict[str, object]] = prepared.apply(make)
    return {name: exports[name] for name in OUTPUTS}


async def _prepare(settings: Settings, provider: vsphere.Provider, seen: Seen) -> PairArgs:
    """Look up and render at the same time; the problems of both come in one message."""
    found = await asyncio.gather(
        find_placement(
            provider,
            settings.login,
            settings.stack.placement,
            settings.stack.image,
            [node.name for node in settings.stack.nodes],
        ),
        asyncio.to_thread(_pair_args, settings),
        announcements(settings.stack, seen),
        return_exceptions=True,
    )
    place, args_at, answers = found
    troubles = [each for each in found if isinstance(each, BaseException)]
    for trouble in troubles:
        if not isinstance(trouble, LbstackError):
            raise trouble
    if isinstance(place, BaseException) or isinstance(args_at, BaseException) or isinstance(answers, BaseException):
        raise pulumi.RunError("\n".join(map(str, troubles)))
    try:
        return args_at(place, answers)
    except LbstackError as error:
        raise pulumi.RunError(str(error)) from error


def _pair_args(settings: Settings) -> Callable[[PlacementIds, Mapping[str, Answer]], PairArgs]:
    """Render and pack; what is imported here is imported while the plugin starts."""
    from lbstack.deploy.pair import PairArgs  # noqa: PLC0415
    from lbstack.deploy.signer import require_known  # noqa: PLC0415
    from lbstack.render import pack  # noqa: PLC0415
    from lbstack.render.files import RenderedPair, render_pair  # noqa: PLC0415
    from lbstack.render.redact import redact_pair  # noqa: PLC0415

    stack = settings.stack
    mode = stack.rollout.mode
    present = render_pair(stack, settings.secrets)

    def packed(rendered: RenderedPair) -> dict[str, pack.Packed]:
        return {node: pack.pack(stack, rendered, node, settings.secrets) for node in rendered.nodes}

    forms = packed(present)
    for each in forms.values():
        _ = each.in_parts  # made here, while the plugin starts; a set that does not fit is refused
    earlier = cache(lambda: render_pair(stack, settings.secrets, earlier=True))

    def at(place: PlacementIds, answers: Mapping[str, Answer]) -> PairArgs:
        machines = {**place.moved, **place.marks}
        wanted = {name: each.in_parts for name, each in forms.items()}
        require_known(settings.secrets, machines, wanted, mode)
        known = {node.name: Known(machines.get(node.name), answers.get(node.name, Answer())) for node in stack.nodes}
        moving = for_release_before(known.values(), mode, lambda: earlier().config_hash)
        rendered, given = (earlier(), packed(earlier())) if moving else (present, forms)
        manners = {node.name: manner(node, known[node.name], given[node.name], mode) for node in stack.nodes}
        return PairArgs(stack, place, manners, redact_pair(rendered), rendered.config_hash)

    return at
