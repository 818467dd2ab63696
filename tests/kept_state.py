"""Read the fixture ``tests/fixtures/kept-state``: a stack file and the Pulumi state that an earlier commit made of it.

The tests of two tiers use it; the fixture's README describes its files. ``tests/deploy/make_kept_state.py`` makes the
state anew. This module needs neither the engine nor a lab.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import lzma
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DIRECTORY = Path(__file__).parent / "fixtures" / "kept-state"
STACK_FILE = DIRECTORY / "Pulumi.lab.yaml"
PASSPHRASE = DIRECTORY / "passphrase"
STATE = DIRECTORY / "state.json.xz"
BEFORE = DIRECTORY / "before.json.xz"
"""The same stack as the release before deployed it."""

NAMESPACE = "lbstack:"
# Of the engine's passphrase provider (pulumi/sdk/go/common/resource/config/crypt.go): PBKDF2 with SHA-256, AES-256-GCM.
KEY_ITERATIONS = 1_000_000
KEY_BYTES = 32
SECRET_MARK = "4dabf18193072939515e22adb298388d"  # the engine's mark of a secret value (sdk/go/common/resource)
DEFAULTS = "__defaults"  # where the provider lists the inputs that it added itself

PAIR = "urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair"
VIRTUAL_MACHINE = "vsphere:index/virtualMachine:VirtualMachine"
RULE = "vsphere:index/computeClusterVmAntiAffinityRule:ComputeClusterVmAntiAffinityRule"
URNS = (
    "urn:pulumi:lab::lbstack::pulumi:pulumi:Stack::lbstack-lab",
    "urn:pulumi:lab::lbstack::pulumi:providers:vsphere::vcenter",
    f"{PAIR}::pair",
    f"{PAIR}$vsphere:index/folder:Folder::pair-folder",
    f"{PAIR}$vsphere:index/tagCategory:TagCategory::pair-tags",
    f"{PAIR}$vsphere:index/tag:Tag::pair-tag-load-balancer",
    f"{PAIR}$vsphere:index/tag:Tag::pair-tag-horizon",
    f"{PAIR}${VIRTUAL_MACHINE}::pair-node1",
    f"{PAIR}${VIRTUAL_MACHINE}::pair-node2",
    f"{PAIR}${RULE}::pair-rule",
)
"""The URN of every resource in the state. A URN that changes is a resource that every existing stack replaces."""

Deployment = dict[str, Any]


def placeholder(name: str) -> str:
    """The text that stands in the kept state for an id that differs from one simulated vCenter to the next."""
    return f"{{kept:{name}}}"


def recorded(state: Path = STATE) -> Deployment:
    """Return a kept state with its placeholders, in the form that ``pulumi stack export --show-secrets`` prints."""
    return dict(json.loads(_text(state)))


def _text(state: Path) -> str:
    return lzma.decompress(state.read_bytes()).decode()


def filled(ids: Mapping[str, str], state: Path = STATE) -> Deployment:
    """Return a kept state with the ids of one vCenter in the place of the placeholders.

    Args:
        ids: Placeholder's name → value.
        state: ``STATE`` or ``BEFORE``.

    Raises:
        ValueError: A placeholder has no value, or an id has no placeholder.
    """
    text = _text(state)
    for name, value in ids.items():
        if placeholder(name) not in text:
            raise ValueError(f"{state.name} has no place for {name}")
        text = text.replace(json.dumps(placeholder(name)), json.dumps(value))
    if (start := text.find(placeholder("")[:-1])) >= 0:
        raise ValueError(f"{state.name} needs an id that is not given: {text[start:].partition('}')[0]}}}")
    return dict(json.loads(text))


def with_user(deployment: Deployment, user: str) -> Deployment:
    """Return a deployment whose provider logs in as another user: a lab has one of its own, and nothing else has it."""
    changed = copy.deepcopy(deployment)
    for resource in changed["deployment"]["resources"]:
        if resource["type"] == "pulumi:providers:vsphere":
            for part in ("inputs", "outputs"):
                resource[part]["user"] = user
    return changed


def with_placeholders(deployment: Deployment, ids: Mapping[str, str]) -> Deployment:
    """Return a deployment with placeholders where whole values are ids of one vCenter: the reverse of ``filled``."""
    text = json.dumps(deployment)
    for name, value in ids.items():
        text = text.replace(json.dumps(value), json.dumps(placeholder(name)))
    return dict(json.loads(text))


def resources(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The resources of a deployment by URN."""
    return {resource["urn"]: resource for resource in deployment["deployment"]["resources"]}


def stack_outputs(deployment: Deployment) -> dict[str, Any]:
    """What the stack of a deployment exports."""
    return dict(resources(deployment)[URNS[0]]["outputs"])


def given(inputs: Any) -> Any:
    """Recorded inputs as the program gave them: without the provider's defaults, secrets as plain values."""
    if isinstance(inputs, list):
        return [given(value) for value in inputs]
    if not isinstance(inputs, dict):
        return inputs
    if SECRET_MARK in inputs:
        return json.loads(inputs["plaintext"])
    left_out = {DEFAULTS, *inputs.get(DEFAULTS, ())}
    return {key: given(value) for key, value in inputs.items() if key not in left_out}


def config() -> dict[str, Any]:
    """The section ``config`` of the kept stack file, secrets encrypted."""
    return dict(yaml.safe_load(STACK_FILE.read_text(encoding="utf-8"))["config"])


def values() -> dict[str, Any]:
    """The keys of the program in the kept stack file, without namespace and without secrets."""
    plain = {key: value for key, value in config().items() if key.startswith(NAMESPACE) and not _is_secret(value)}
    return {key.removeprefix(NAMESPACE): value for key, value in plain.items()}


@cache
def secrets() -> Mapping[str, str]:
    """Every secret of the kept stack file by its full key, decrypted with the fixture's passphrase."""
    salt = base64.b64decode(yaml.safe_load(STACK_FILE.read_text(encoding="utf-8"))["encryptionsalt"].split(":")[1])
    phrase = PASSPHRASE.read_bytes()
    key = AESGCM(hashlib.pbkdf2_hmac("sha256", phrase, salt, KEY_ITERATIONS, KEY_BYTES))
    found = {}
    for name, value in config().items():
        if _is_secret(value):
            _, nonce, ciphertext = value["secure"].split(":")
            found[name] = key.decrypt(base64.b64decode(nonce), base64.b64decode(ciphertext), None).decode()
    return found


def program_secrets() -> dict[str, str]:
    """The secrets of the program, without namespace: what ``stackfile.load`` takes."""
    return {key.removeprefix(NAMESPACE): value for key, value in secrets().items() if key.startswith(NAMESPACE)}


def _is_secret(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}
