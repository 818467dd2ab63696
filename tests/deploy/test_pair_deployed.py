"""The pair as vCenter has it after `up`, seen through pyVmomi; and what the engine then reports about it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pyVmomi import vim

from lab.home.credentials import credentials_of
from lab.home.stackfile import secret_values
from lbstack.facts.names import marker
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.paths import PUBLIC_KEY
from lbstack.stackfile import load
from tests.deploy.harness import Harness, find
from tests.guestinfo import written_files

NODES = ("PhotonLB-01", "PhotonLB-02")
PROJECT = "lbstack:"


def rendered(lab: Harness) -> RenderedPair:
    """The files of the lab's stack file as it is now, rendered here and not by the engine."""
    raw = {key.removeprefix(PROJECT): value for key, value in lab.config.items() if key.startswith(PROJECT)}
    clear = secret_values(lab.config, credentials_of(lab.paths))
    secrets = {key.removeprefix(PROJECT): value for key, value in clear.items() if key.startswith(PROJECT)}
    return render_pair(*load.load({key: raw[key] for key in raw if key not in secrets}, secrets))


def test_right_after_up_a_preview_sees_no_change_and_a_refresh_no_drift(pair: Harness) -> None:
    pair.preview("--expect-no-changes").ok()
    pair.drift().ok()


@pytest.mark.parametrize("node", NODES)
def test_the_decoded_guestinfo_is_the_rendered_files_byte_for_byte(pair: Harness, node: str) -> None:
    expected = {path: file.content for path, file in rendered(pair).nodes[node].items()}
    assert pair.set_files(node) == expected


@pytest.mark.parametrize("node", NODES)
def test_the_guestinfo_carries_a_manifest_that_its_own_public_key_confirms(pair: Harness, node: str) -> None:
    files = written_files(pair.userdata(node))
    key = load_pem_public_key(files[PUBLIC_KEY].encode())
    assert isinstance(key, RSAPublicKey)
    held = pair.guestinfo(node)
    signature, head = (base64.b64decode(held[f"guestinfo.lbstack.{name}"]) for name in ("signature", "head"))
    key.verify(signature, head, PKCS1v15(), SHA256())


def test_the_vms_are_made_as_the_stack_file_sets_them(pair: Harness) -> None:
    with pair.vcenter() as service:
        for name in NODES:
            config = find(service, vim.VirtualMachine, name).config
            disks = [device for device in config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
            cards = [
                device for device in config.hardware.device if isinstance(device, vim.vm.device.VirtualEthernetCard)
            ]
            assert config.firmware == "efi"
            assert config.bootOptions.efiSecureBootEnabled
            assert (config.hardware.numCPU, config.hardware.memoryMB) == (2, 2048)
            assert [disk.capacityInKB >> 20 for disk in disks] == [16]
            backing: Any = disks[0].backing
            assert backing.thinProvisioned
            assert [type(card) for card in cards] == [vim.vm.device.VirtualVmxnet3]
            assert config.annotation == marker("lbstack", "lab")


def test_the_rule_holds_both_vms_apart(pair: Harness) -> None:
    (rule,) = pair.rules()
    with pair.vcenter() as service:
        wanted = {find(service, vim.VirtualMachine, name)._moId for name in NODES}
    assert isinstance(rule, vim.cluster.AntiAffinityRuleSpec)
    assert {machine._moId for machine in rule.vm} == wanted
    assert (rule.enabled, rule.mandatory) == (True, False)


@pytest.mark.parametrize(("wish", "rules"), [("mandatory", [True]), ("off", [])])
def test_the_rule_can_be_mandatory_or_none(pair: Harness, wish: str, rules: list[bool]) -> None:
    pair.edit(lambda config: config["lbstack:placement"].update(antiAffinity=wish))
    pair.up().ok()
    assert [rule.mandatory for rule in pair.rules()] == rules


def test_folder_and_tags_are_made(pair: Harness) -> None:
    assert "lbstack-lab" in pair.folders()
    assert pair.tags() == {"lbstack-lab": ["load-balancer"]}


def test_the_outputs_report_what_users_need(pair: Harness) -> None:
    outputs = pair.outputs()
    assert outputs["vips"] == {"appvol": "192.168.6.124", "horizon": "192.168.6.123", "stats": "192.168.6.122"}
    assert outputs["stats_url"] == "http://192.168.6.122:8404/stats"
    assert outputs["config_hash"] == rendered(pair).config_hash
    assert "balancedHost=horizon.lab.example" in outputs["horizon_settings"]["horizon"]["locked.properties"]
    machines = pair.machines()
    assert {name: node["uuid"] for name, node in outputs["nodes"].items()} == {
        name: machines[name].uuid for name in NODES
    }
    assert set(outputs["files"]) == set(NODES)


def test_no_secret_is_in_state_logs_events_outputs_or_a_preview(pair: Harness) -> None:
    seen = {}
    with pair.edited(lambda config: config.update({"lbstack:haproxy": {"logConnections": True}})):
        seen["preview"] = pair.preview("--diff").ok().text
        seen["preview --json"] = pair.pulumi("preview", "--json", "--diff").ok().text
    seen["outputs"] = pair.pulumi("stack", "output", "--json").ok().out
    seen["export"] = pair.pulumi("stack", "export").ok().out
    seen |= pair.public_texts()
    for what, value in pair.plain_secrets().items():
        for where, text in seen.items():
            assert value not in text, f"{what} stands in {where}"
    # The same search does find a secret where it belongs: in what the node gets.
    hashed = credentials_of(pair.paths).password_hash("admin")
    assert any(hashed in content for content in pair.set_files(NODES[0]).values())
