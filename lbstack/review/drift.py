"""Find what vCenter has and the last deployment did not write, and what `up` would do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbstack.engine.values import SECRET_MARK, lookup
from lbstack.facts.names import ANNOTATION, FOLDER, OF_FOLDERS, PROVIDER_NOISE, RULE, TAG, TAGS, VIRTUAL_MACHINE
from lbstack.render.redact import Redactor
from lbstack.render.unpack import Opened, only_known
from lbstack.review import filediff, impact, others
from lbstack.review.report import Action, Drift
from lbstack.review.resources import Guestinfo, Resource, opened

EXTRA_CONFIG = "extraConfig"
MEMBERS = "virtualMachineIds"
# The engine's property → a reader's word.
WORDS = {
    "numCpus": "CPUs",
    "numCoresPerSocket": "cores per socket",
    "memory": "memory (MiB)",
    "networkInterfaces": "network",
    "powerState": "power",
    "annotation": "annotation",
    "virtualMachineIds": "members",
    "enabled": "rule",
}
KINDS = {RULE: "anti-affinity rule", FOLDER: "folder", TAG: "tag"}
OFF = ("off", "suspended")
SECRET = "a secret"  # noqa: S105 - what is shown in its place


@dataclass(frozen=True, repr=False)
class View:
    """Both runs, side by side.

    Args:
        planned: What the stack file would change.
        looked: What vCenter has, and what `up --refresh` would do.
        planned_info: The VMs' guestinfo in the first run.
        looked_info: The same in the second.
        redactor: Takes secrets out.
        names: Ids of vCenter → names: the VMs', the network's and the tags'.
        own_tags: Id → name of the tags that are the stack's own.
    """

    planned: Mapping[str, Resource]
    looked: Mapping[str, Resource]
    planned_info: Mapping[str, Guestinfo]
    looked_info: Mapping[str, Guestinfo]
    redactor: Redactor
    names: Mapping[str, str]
    own_tags: Mapping[str, str] = field(default_factory=dict)


def drift_of(view: View) -> tuple[list[Drift], list[str], list[str]]:
    """The drift; the known noise that was left out of it; what others put on the VMs, a sentence for each VM."""
    found: list[Drift] = []
    noise: dict[str, None] = {}
    foreign: list[str] = []
    for urn, resource in sorted(view.looked.items(), key=lambda item: (item[1].label, item[0])):
        if resource.kind.startswith("pulumi:") or not resource.looked:
            continue
        place = where(resource)
        if resource.missing:
            text = "It was deployed and is not in vCenter any more."
            found.append(Drift(place, "missing", text, _remedy(view, resource, "")))
            continue
        noise |= dict.fromkeys(_noise_of(resource))
        for path in sorted(resource.drifted):
            name = path.partition(".")[0].partition("[")[0]
            elsewhere = others.HANDLED if resource.kind == VIRTUAL_MACHINE else OF_FOLDERS
            ignored = name in elsewhere or (resource.kind == VIRTUAL_MACHINE and name in PROVIDER_NOISE)
            if name != EXTRA_CONFIG and not ignored:
                found.append(_property(view, resource, path, name))
        found += _marks(view, resource)
        if phrases := list(others.footnotes_of(resource, view.own_tags)):
            foreign.append(f"{resource.label}: {', '.join(phrases)}")
        if any(path.startswith(EXTRA_CONFIG) for path in resource.drifted):
            found.append(_guestinfo(view, urn, resource))
        if "powerState" not in resource.drifted and lookup(resource.seen, "powerState") in OFF:
            # A refresh takes it into the state, and it is no less wrong for that: no node of a pair is meant to be off.
            found.append(_property(view, resource, "powerState", "powerState"))
    return found, list(noise), foreign


def _marks(view: View, resource: Resource) -> list[Drift]:
    """The stack's own tags and marker, where somebody took them off a VM."""
    found = []
    if others.marker_is_gone(resource):
        mark, seen = others.marker_of(resource), view.redactor(show(lookup(resource.seen, ANNOTATION)))
        text = f"{ANNOTATION}: {seen} in vCenter; deployed: {mark}."
        found.append(Drift(resource.label, ANNOTATION, text, _remedy(view, resource, ANNOTATION), (), seen, mark))
    if missing := others.missing_tags(resource, view.own_tags):
        text = f"{', '.join(missing)} was deployed as a tag of this VM and is not attached in vCenter any more."
        found.append(Drift(resource.label, TAGS, text, _remedy(view, resource, TAGS)))
    return found


def _noise_of(resource: Resource) -> list[str]:
    """What is left out because the provider reports it of itself, with where that is known from.

    An engine that heeds the program's `ignore_changes` in a refresh does not report it; then the values still show it.
    """
    if resource.kind != VIRTUAL_MACHINE:
        return []
    names = {path.partition(".")[0].partition("[")[0] for path in resource.drifted}
    names |= {
        name
        for name in PROVIDER_NOISE
        if (seen := lookup(resource.seen, name)) is not None and seen != lookup(resource.old, name)
    }
    return [f"{name} ({PROVIDER_NOISE[name]})" for name in sorted(names & set(PROVIDER_NOISE))]


def where(resource: Resource) -> str:
    """What a person calls a resource."""
    if resource.kind == VIRTUAL_MACHINE:
        return resource.label
    return (
        f"{KINDS.get(resource.kind, resource.kind.rpartition(':')[2])} {lookup(resource.old, 'name') or resource.name}"
    )


def _property(view: View, resource: Resource, path: str, name: str) -> Drift:
    path = name if name == MEMBERS else path
    old, seen = (view.redactor(show(_named(view, lookup(side, path)))) for side in (resource.old, resource.seen))
    word = WORDS.get(name, path)
    if resource.kind == RULE and name == "enabled":
        text = f"The rule is switched {_on(seen)} in vCenter; deployed: {_on(old)}."
    elif name == "powerState":
        meant = f"deployed: {old}" if seen != old else "a node is meant to be on"
        text = f"The VM is powered {seen} in vCenter; {meant}."
    else:
        text = f"{word}: {seen} in vCenter; deployed: {old}."
    return Drift(where(resource), word, text, _remedy(view, resource, name), (), seen, old)


def _named(view: View, value: object) -> object:
    """Ids of vCenter with the names that a person knows them by."""
    if isinstance(value, list):
        return ", ".join(str(_named(view, item)) for item in value)
    return view.names.get(value, value) if isinstance(value, str) else value


def _on(value: str) -> str:
    return "on" if value == "true" else "off"


def _guestinfo(view: View, urn: str, resource: Resource) -> Drift:
    info = view.looked_info.get(urn, Guestinfo())
    node = resource.label
    before, after = opened(info.deployed, view.redactor), opened(info.seen, view.redactor)
    rights = {node: before.rights}, {node: after.rights}
    own = own_of(view, urn)
    # The state may have taken in what somebody wrote: `pulumi refresh` does that.
    old, seen = ({node: only_known(side, own, view.redactor)} for side in (before, after))
    files = filediff.compare(old, seen, rights)
    keys = sorted(path.partition('["')[2].rstrip('"]') for path in resource.drifted if path.startswith(EXTRA_CONFIG))
    if files:
        text = f"{len(files)} {'file differs' if len(files) == 1 else 'files differ'} from what was deployed."
    else:
        text = (
            f"{', '.join(filter(None, keys)) or 'It'} differs in its encoding or in what is not shown, not in a file."
        )
    text += " The node takes nothing in that is not signed with the stack's key."
    return Drift(resource.label, "guestinfo", text, _remedy(view, resource, EXTRA_CONFIG), files)


def own_of(view: View, urn: str) -> Opened | None:
    """What the program makes of the stack file for a VM now, so what nobody else has written."""
    info = view.planned_info.get(urn)
    return opened(info.wanted, view.redactor) if info and info.wanted else None


def _remedy(view: View, resource: Resource, name: str) -> str:
    """What `up` would do about it, by the engine's second run."""
    after = view.looked.get(resource.urn)
    plain = view.planned.get(resource.urn)
    operations = after.operations if after else []
    known = plain is not None and bool(plain.operations) and (not name or name in plain.differing)
    if resource.missing:
        if "create" in operations:
            return "`pulumi up --refresh` makes it again; without --refresh `up` does not see it."
        return "`pulumi up --refresh` does not make it again, because the stack file has it no more."
    if "replace" in operations:
        return "`pulumi up --refresh` destroys it and makes it again."
    if after and name in after.differing:
        how = impact.words_of(after)
        tail = "plain `up` writes it too." if known else "without --refresh `up` does not see it."
        return f"`pulumi up --refresh` puts it back{how}; {tail}"
    if name == "powerState":
        return _power_remedy(plain)
    put_back = "`pulumi up` does nothing about it: put it back in vCenter, or take it into the stack file."
    return "It is what the stack file has now: nothing has to be put back." if known else put_back


def _power_remedy(plain: Resource | None) -> str:
    if plain and impact.action_of(plain)[0] is Action.REBOOT:
        return "`pulumi up` changes this VM anyway, which switches it on."
    return "`pulumi up` does nothing about it: switch the VM on in vCenter."


def show(value: object) -> str:
    """A property's value; a secret is only named as one."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    if isinstance(value, Mapping) and SECRET_MARK in value:
        return SECRET
    if isinstance(value, Mapping | list):
        text = json.dumps(value, sort_keys=True)
        return SECRET if SECRET_MARK in text else text
    return str(value) or "empty"
