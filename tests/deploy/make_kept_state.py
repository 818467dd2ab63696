"""`python -m tests.deploy.make_kept_state`: make the state in ``tests/fixtures/kept-state`` anew.

Deploys the fixture's stack file to a lab of its own with the program of a given checkout, and writes the exported
state with placeholders in the place of ids. The fixture's README describes when that is needed and has to name the
commit. ``prepare`` and ``ids`` are for the test of the fixture too.

    --program DIR   a checkout of the commit whose program makes the state (this checkout)
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pyVmomi import vim

from lab.home import state
from lab.home.credentials import credentials_of
from lab.home.state import write_private
from lab.system.cache import CHECKOUT
from tests import kept_state
from tests.deploy.harness import Harness, find
from tests.kept_state import Deployment

# Of a resource in the state: where in which file of this machine the program made it. No test needs it.
POSITIONS = ("sourcePosition", "stackTrace")


def prepare(lab: Harness) -> None:
    """Start a lab with the fixture's passphrase, vCenter password, image and stack file; deploy nothing.

    Args:
        lab: A lab that does not exist yet.
    """
    state.prepare(lab.paths)
    own = credentials_of(lab.paths)
    write_private(own.passphrase_file, kept_state.PASSPHRASE.read_text(encoding="utf-8"))
    write_private(own.vcenter_password_file, kept_state.secrets()["vsphere:password"])
    lab.prepare()
    started = lab.config
    document = yaml.safe_load(kept_state.STACK_FILE.read_text(encoding="utf-8"))
    config = document["config"]
    # The vCenter, its address and its user are this lab's; neither the rendered files nor any resource but the provider
    # has them.
    for key in ("vsphere:vsphereServer", "vsphere:user"):
        config[key] = started[key]
    config["lbstack:placement"]["vcenterUuid"] = started["lbstack:placement"]["vcenterUuid"]
    lab.paths.stack_file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    lab.add_item(config["lbstack:image"]["item"])


def exported(lab: Harness) -> Deployment:
    """The state of the lab's stack, secrets in clear."""
    return dict(json.loads(lab.pulumi("stack", "export", "--show-secrets").ok().out))


def ids(lab: Harness) -> dict[str, str]:
    """The ids in a lab's vCenter to which the pair is deployed, by the names of their placeholders.

    They are read from vCenter and not from the state, so that they do not depend on what the program calls its
    resources.
    """
    config = lab.config
    placement, image = config["lbstack:placement"], config["lbstack:image"]
    found = {"server": str(config["vsphere:vsphereServer"])}
    with lab.vcenter() as service:
        cluster = find(service, vim.ClusterComputeResource, placement["cluster"])
        (rule,) = cluster.configurationEx.rule
        found |= {
            "datacenter": find(service, vim.Datacenter, placement["datacenter"])._moId,
            "cluster": cluster._moId,
            "pool": cluster.resourcePool._moId,
            "datastore": find(service, vim.Datastore, placement["datastore"])._moId,
            "network": find(service, vim.Network, placement["network"])._moId,
            "folder": find(service, vim.Folder, placement["folder"])._moId,
            "rule": f"{cluster._moId}:{rule.key}",
        }
        for number, node in enumerate(config["lbstack:nodes"], start=1):
            machine = find(service, vim.VirtualMachine, node["name"])
            (card,) = [
                device
                for device in machine.config.hardware.device
                if isinstance(device, vim.vm.device.VirtualEthernetCard)
            ]
            found |= {
                f"node{number}": machine.config.uuid,
                f"node{number}-object": machine._moId,
                f"node{number}-mac": str(card.macAddress),
            }
    (item,) = _listed(lab.govc("library.ls", "-json", f"{image['library']}/{image['item']}"))
    category = placement["tags"]["category"]
    (group,) = [entry for entry in _listed(lab.govc("tags.category.ls", "-json")) if entry["name"] == category]
    found |= {"image": item["id"], "category": group["id"]}
    found |= {f"tag-{tag['name']}": tag["id"] for tag in _listed(lab.govc("tags.ls", "-json", "-c", category))}
    return found


def _listed(entries: Any) -> list[dict[str, Any]]:
    return list(entries or [])


def make(program: Path) -> None:
    """Deploy the fixture's stack file with a checkout's program and keep the state.

    Args:
        program: The checkout.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        lab = Harness(Path(directory) / "lab", program)
        try:
            prepare(lab)
            lab.up().ok()
            deployment = kept_state.with_placeholders(exported(lab), ids(lab))
            deployment = kept_state.with_user(deployment, str(kept_state.config()["vsphere:user"]))
        finally:
            lab.remove()
    for resource in deployment["deployment"]["resources"]:
        for key in POSITIONS:
            resource.pop(key, None)
    text = json.dumps(deployment, indent=1) + "\n"
    kept_state.STATE.write_bytes(lzma.compress(text.encode(), preset=9))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.make_kept_state", description=__doc__)
    parser.add_argument("--program", type=Path, default=CHECKOUT, help="a checkout of the commit that makes the state")
    program = parser.parse_args(arguments).program.resolve()
    if not (program / "Pulumi.yaml").is_file():
        parser.error(f"--program {program}: there is no Pulumi.yaml. Name a checkout of this repository.")
    make(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
