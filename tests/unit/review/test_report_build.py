"""Reports from recorded runs of the engine: what is shown, what is left out, and what stays secret."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lbstack.config.credentials import new_signing_key
from lbstack.facts.names import PROVIDER_NOISE
from lbstack.nodes.health import Answer
from lbstack.render.files import File, RenderedPair, render_pair
from lbstack.render.paths import HAPROXY_CFG, KEEPALIVED_CONF
from lbstack.review.applied import build as build_applied
from lbstack.review.build import build
from lbstack.review.markdown import markdown_of
from lbstack.review.report import Action, Outcome, Report
from lbstack.review.text import text_of
from tests.guestinfo import userdata
from tests.keys import signing_key
from tests.unit.review.runs import MASTER, STANDBY, case, extra_config, recorded, run

HASH = "$6$anothersalt$" + "z" * 86


def with_line(old: str, new: str, path: str = HAPROXY_CFG) -> RenderedPair:
    """The post's pair with one line of a file, haproxy.cfg unless given, replaced on both nodes."""
    config, secrets = case()
    pair = render_pair(config, secrets)
    nodes = {}
    for node, files in pair.nodes.items():
        content = files[path].content
        assert content.count(old) == 1
        nodes[node] = dict(files) | {path: File(content.replace(old, new), mode=0o600)}
    return RenderedPair(pair.config_hash, nodes)


def unchanged(**options: Any) -> Report:
    usual = extra_config()
    look = run(recorded("unchanged-look"), usual, usual, usual)
    return build("lab", run(recorded("unchanged-plan"), usual, usual), look, **options)


def test_no_change_is_reported_too() -> None:
    report = unchanged()
    assert (report.verdict, report.outcome) == ("No change, no drift.", Outcome.NOTHING)
    assert not any((report.drift, report.files, report.changes, report.nodes))


def noisy(step: dict[str, Any]) -> None:
    """What the provider reports of a VM that nobody touched (pulumi/pulumi-vsphere#472)."""
    if step["op"] != "refresh":
        return
    step["diffs"] = sorted(PROVIDER_NOISE)
    step["detailedDiff"] = {name: {"diffKind": "update", "inputDiff": False} for name in PROVIDER_NOISE}
    if "new" in step and "outputs" in step["new"]:
        step["new"]["outputs"] |= {"hvMode": "hvOn", "eptRviMode": "on", "syncTimeWithHost": True}


def test_known_noise_of_the_provider_is_no_drift_but_a_footnote() -> None:
    usual = extra_config()
    look = run(recorded("unchanged-look", noisy), usual, usual, usual)
    report = build("lab", run(recorded("unchanged-plan"), usual, usual), look)
    assert report.drift == ()
    assert report.outcome is Outcome.NOTHING
    assert [line.partition(" ")[0] for line in report.noise] == sorted(PROVIDER_NOISE)
    for shown in (text_of(report), markdown_of(report)):
        assert "pulumi-vsphere#472" in shown


def test_the_recorded_drift_is_reported_with_both_values() -> None:
    usual = extra_config()
    changed = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 99h"))
    seen = dict(usual) | {STANDBY: changed[STANDBY]}
    report = build(
        "lab",
        run(recorded("unchanged-plan"), usual, usual),
        run(recorded("drifted-look"), usual, usual, seen),
    )
    reported = {(item.where, item.what): item for item in report.drift}
    assert reported[MASTER, "CPUs"].text == "CPUs: 4 in vCenter; deployed: 2."
    assert reported[STANDBY, "power"].text == "The VM is powered off in vCenter; deployed: on."
    assert "switched off" in reported[f"anti-affinity rule lbstack {MASTER} {STANDBY}", "rule"].text
    (file,) = reported[STANDBY, "guestinfo"].files
    assert [line for line in file.lines if line[0] in "+-"] == ["-    hard-stop-after 10h", "+    hard-stop-after 99h"]
    assert report.outcome is Outcome.DRIFT


def test_a_node_that_is_off_is_switched_on_by_a_change_of_it_and_by_nothing_else() -> None:
    usual = extra_config()
    new = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 9h"))
    look = run(recorded("drifted-look"), usual, usual, usual)
    for name, wanted, output in (("unchanged", usual, "does nothing about it"), ("set", new, "switches it on")):
        report = build("lab", run(recorded(f"{name}-plan"), usual, wanted), look)
        (power,) = [item for item in report.drift if item.what == "power"]
        assert output in power.remedy


def test_a_changed_line_is_shown_once_for_both_nodes_and_the_sets_hash_never() -> None:
    usual, config = extra_config(), case()
    new = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 9h"))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan"), usual, new), look)
    (file,) = report.files
    assert (file.path, file.nodes, file.added, file.removed) == (HAPROXY_CFG, (MASTER, STANDBY), 1, 1)
    assert report.verdict == "1 file on 2 nodes changes (reboot)."
    assert render_pair(*config).config_hash not in json.dumps(report.as_data())


def password_report(key: str) -> tuple[Report, str]:
    _, secrets = case()
    hashes = dict(secrets.stats_hashes) | {"admin": HASH}
    usual, new = extra_config(), extra_config(dataclasses.replace(secrets, stats_hashes=hashes))
    look = run(recorded("unchanged-look"), usual, usual, usual, key)
    return build("lab", run(recorded("set-plan"), usual, new, key=key), look), secrets.stats_hashes["admin"]


def test_a_changed_secret_shows_by_its_digest_and_never_by_itself() -> None:
    report, old = password_report("key")
    lines = [line for file in report.files for line in file.lines if line[0] in "+-"]
    assert len(lines) == 2
    assert lines[0][1:] != lines[1][1:]
    assert all("user admin password <redacted:" in line for line in lines)
    for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
        for secret in (old, HASH):
            for part in secret.split("$")[2:]:
                assert part not in shown


def test_the_digest_depends_on_the_stacks_key() -> None:
    first, second = (password_report(key)[0].files[0].lines for key in ("one key", "another key"))
    assert first != second


def test_without_a_key_a_changed_secret_is_reported_and_not_shown() -> None:
    report, _ = password_report("")
    assert report.files == ()
    assert any("differ in what is not shown" in warning for warning in report.warnings)
    assert "<redacted:" not in json.dumps(report.as_data())


def test_another_signing_key_is_a_warning_because_the_nodes_would_refuse_it() -> None:
    usual = extra_config()
    other = cases_with_another_key()
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan"), usual, other), look)
    assert sum("The signing key changes" in warning for warning in report.warnings) == 2


def test_a_signing_key_that_the_deployed_set_brought_is_no_warning() -> None:
    _, secrets = case()
    new = new_signing_key()
    told = extra_config(dataclasses.replace(secrets, next_signing_key=new))
    after = extra_config(dataclasses.replace(secrets, signing_key=new))
    report = build("lab", run(recorded("set-plan"), told, after), run(recorded("unchanged-look"), told, told, told))
    assert [warning for warning in report.warnings if "signing key changes" in warning] == []
    assert any("next_key" in line for file in report.files for line in file.lines)


def test_a_file_that_changes_only_its_owner_and_mode_is_shown_as_such() -> None:
    config, secrets = case()
    pair = render_pair(config, secrets)
    nodes = {
        node: dict(files) | {HAPROXY_CFG: dataclasses.replace(files[HAPROXY_CFG], owner="haproxy:haproxy", mode=0o640)}
        for node, files in pair.nodes.items()
    }
    usual, new = extra_config(), extra_config(pair=dataclasses.replace(pair, nodes=nodes))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan"), usual, new), look)
    (file,) = report.files
    assert (file.path, file.nodes, file.lines) == (HAPROXY_CFG, (MASTER, STANDBY), ())
    assert file.rights == "owner root:root → haproxy:haproxy, mode 0600 → 0640"
    assert report.verdict == "1 file on 2 nodes changes (reboot)."
    reported = f"{HAPROXY_CFG} on {MASTER} and {STANDBY}, {file.rights}, reboot\n"
    assert reported in text_of(report)
    assert f"<code>{file.rights}</code>, reboot</summary>" in markdown_of(report)


def test_a_mode_that_somebody_changed_in_vcenter_is_drift_of_that_file() -> None:
    config, secrets = case()
    pair = render_pair(config, secrets)
    files = pair.nodes[STANDBY]
    lax = dict(files) | {HAPROXY_CFG: dataclasses.replace(files[HAPROXY_CFG], mode=0o644)}
    usual = extra_config()
    seen = dict(usual) | {
        STANDBY: extra_config(pair=dataclasses.replace(pair, nodes=dict(pair.nodes) | {STANDBY: lax}))[STANDBY]
    }
    report = build(
        "lab", run(recorded("unchanged-plan"), usual, usual), run(recorded("drifted-look"), usual, usual, seen)
    )
    item = next(item for item in report.drift if item.what == "guestinfo")
    assert [(file.path, file.rights) for file in item.files] == [(HAPROXY_CFG, "mode 0600 → 0644")]


def test_roots_password_alone_shows_by_its_digest_where_it_is_set() -> None:
    _, secrets = case()
    secrets = dataclasses.replace(secrets, root_hash="$6$somesalt$" + "y" * 86)
    usual, new = extra_config(secrets), extra_config(dataclasses.replace(secrets, root_hash=HASH))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan"), usual, new), look)
    assert report.files
    for file in report.files:
        changed = [line for line in file.lines if line[0] in "+-"]
        assert changed
        assert all("<redacted:" in line for line in changed)
    for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
        for secret in (str(secrets.root_hash), HASH):
            assert not any(part in shown for part in secret.split("$")[2:])


def test_the_vcenters_password_alone_is_reported_to_change_and_not_shown() -> None:
    usual = extra_config()
    mark = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "[secret]"}
    step = {
        "op": "update",
        "urn": "urn:pulumi:lab::lbstack::pulumi:providers:vsphere::vcenter",
        "type": "pulumi:providers:vsphere",
        "diffs": ["password"],
        "old": {"inputs": {"user": "lbstack", "password": mark}, "outputs": {"user": "lbstack", "password": mark}},
        "new": {"inputs": {"user": "lbstack", "password": mark}},
    }
    plan = run([*recorded("unchanged-plan"), {"resourcePreEvent": {"metadata": step}}], usual, usual)
    report = build("lab", plan, run(recorded("unchanged-look"), usual, usual, usual))
    assert [(change.where, change.text) for change in report.changes] == [("vCenter login", "the password")]
    assert (report.files, report.nodes) == ((), ())
    assert report.verdict == "1 change outside of the files."


def cases_with_another_key() -> dict[str, dict[str, str]]:
    return extra_config(dataclasses.replace(case()[1], signing_key=signing_key()))


def test_a_new_image_replaces_both_nodes_and_changes_no_file() -> None:
    usual = extra_config()
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("image-plan"), usual, usual), look)
    assert {impact.action for impact in report.nodes} == {Action.REPLACE}
    assert report.files == ()
    assert "(replace)" in report.verdict


def live(step: dict[str, Any]) -> None:
    step.get("new", {}).get("inputs", {})["extraConfigRebootRequired"] = False


@pytest.mark.parametrize(
    ("master", "order", "holder"),
    [
        (MASTER, [STANDBY, MASTER], f"{MASTER} holds the VIPs now."),
        (STANDBY, [MASTER, STANDBY], f"{STANDBY} holds the VIPs now."),
        ("", [STANDBY, MASTER], "No node reports that it holds the VIPs"),
    ],
)
def test_the_nodes_are_touched_standby_first_and_only_the_holders_sessions_are_lost(
    master: str, order: list[str], holder: str
) -> None:
    usual = extra_config()
    new = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 9h"))
    answers = {
        node: Answer("0" * 64, "master" if node == master else "backup") if master else Answer(error="no answer")
        for node in (MASTER, STANDBY)
    }
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan"), usual, new), look, answers)
    assert [impact.node for impact in report.nodes] == order
    assert report.holder.startswith(holder)
    if master:
        assert report.nodes[0].sessions == "none: its peer holds the VIPs"
        assert "lost once" in report.nodes[1].sessions


def test_a_live_change_is_a_reload_that_cuts_nothing() -> None:
    usual = extra_config()
    new = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 9h"))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan", live), usual, new), look)
    assert {impact.action for impact in report.nodes} == {Action.RELOAD}
    assert all("live, no session is cut" in impact.sessions for impact in report.nodes)
    assert {file.effect for file in report.files} == {"live, no session is cut"}
    assert "live, no session is cut" in text_of(report)
    assert "live, no session is cut</summary>" in markdown_of(report).replace(" (+1 -1)", "")
    assert "(reload)" in report.verdict


def test_a_live_change_that_only_a_new_process_takes_up_is_a_hand_over_and_one_with_a_reboot_says_so() -> None:
    usual = extra_config()
    new = extra_config(pair=with_line("    virtual_router_id 11", "    virtual_router_id 99", KEEPALIVED_CONF))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("set-plan", live), usual, new), look)
    assert {file.effect for file in report.files} == {"hand-over"}
    assert all("VIPs go to its peer first" in impact.sessions for impact in report.nodes)
    report = build("lab", run(recorded("set-plan"), usual, new), look)
    assert {file.effect for file in report.files} == {"reboot"}


def test_guestinfo_that_is_no_set_is_described_and_not_shown() -> None:
    usual = extra_config()
    junk = {"guestinfo.userdata": "c2VjcmV0IHRleHQ=", "guestinfo.userdata.encoding": "base64"}
    seen = dict(usual) | {STANDBY: junk}
    look = run(recorded("drifted-look"), usual, usual, seen)
    report = build("lab", run(recorded("unchanged-plan"), usual, usual), look)
    item = next(item for item in report.drift if item.what == "guestinfo")
    assert any("not readable as a set" in line for file in item.files for line in file.lines)
    assert "secret text" not in json.dumps(report.as_data())


PLAIN = "correct horse battery staple"


def foreign(values: dict[str, str], edit: Callable[[dict[str, Any]], None]) -> dict[str, str]:
    """A node's guestinfo after somebody has written into its cloud-config."""
    document = userdata(values)
    edit(document)
    text = "#cloud-config\n" + json.dumps(document, indent=1)
    encoded = base64.b64encode(text.encode()).decode()
    return dict(values) | {"guestinfo.userdata": encoded, "guestinfo.userdata.encoding": "base64"}


def hand_written(values: dict[str, str]) -> dict[str, str]:
    """Everything that somebody may write besides the set's files, with a password in each."""

    def edit(document: dict[str, Any]) -> None:
        document["chpasswd"] = {"list": [f"root:{PLAIN}"]}
        document["runcmd"].append(["sh", "-c", f"echo root:{PLAIN} | chpasswd"])
        document["write_files"].append({"path": "/root/notes", "content": f"one line\n{PLAIN}\n"})

    changed = foreign(values, edit)
    metadata = base64.b64encode(json.dumps({"password": PLAIN}).encode()).decode()
    return changed | {"guestinfo.other": PLAIN, "guestinfo.metadata": metadata}


def test_what_somebody_wrote_besides_the_sets_files_is_reported_and_not_shown() -> None:
    usual = extra_config()
    seen = dict(usual) | {STANDBY: hand_written(usual[STANDBY])}
    for key in ("key", ""):
        plan = run(recorded("unchanged-plan"), usual, usual, key=key)
        report = build("lab", plan, run(recorded("drifted-look"), usual, usual, seen, key=key))
        item = next(item for item in report.drift if item.what == "guestinfo")
        paths = {file.path for file in item.files}
        assert paths == {"(cloud-config beside the files)", "(guestinfo.metadata)", "(guestinfo.other)", "/root/notes"}
        for file in item.files:
            assert any("<redacted" in line for line in file.lines), file.path
        for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
            assert PLAIN not in shown
            assert "one line" not in shown
            assert "/root/notes" in shown


def test_it_is_not_shown_either_when_a_refresh_has_taken_it_into_the_state() -> None:
    usual = extra_config()
    taken = dict(usual) | {STANDBY: hand_written(usual[STANDBY])}
    plan = run(recorded("set-plan"), taken, usual)
    report = build("lab", plan, run(recorded("unchanged-look"), taken, usual, taken))
    assert {"(guestinfo.other)", "/root/notes"} <= {file.path for file in report.files}
    for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
        assert PLAIN not in shown
    applied = build_applied("lab", run(recorded("set-plan"), taken, usual))
    assert {"(guestinfo.other)", "/root/notes"} <= {file.path for file in applied.files}
    assert PLAIN not in json.dumps(applied.as_data())


def test_what_the_program_writes_besides_the_files_is_shown_line_by_line() -> None:
    usual = extra_config()
    new = {node: foreign(values, lambda document: document.update(locale="C")) for node, values in usual.items()}
    look = run(recorded("unchanged-look"), usual, usual, usual)
    (file,) = build("lab", run(recorded("set-plan"), usual, new), look).files
    assert [line for line in file.lines if line[0] in "+-"] == ['+ "locale": "C",']


def test_guestinfo_that_is_no_set_shows_no_digest_that_a_guess_could_be_tested_with() -> None:
    usual = extra_config()
    seen = dict(usual) | {STANDBY: {"guestinfo.userdata": "#cloud-config\nchpasswd: {list: root:secret}\n"}}
    looks = [run(recorded("drifted-look"), usual, usual, seen, key=key) for key in ("one key", "another key")]
    plans = [run(recorded("unchanged-plan"), usual, usual, key=key) for key in ("one key", "another key")]
    first, second = (
        [line for item in build("lab", plan, look).drift for file in item.files for line in file.lines if "no" in line]
        for plan, look in zip(plans, looks, strict=True)
    )
    assert first
    assert first != second


def test_a_value_that_somebody_typed_into_vcenter_is_shown_without_the_secrets_in_it() -> None:
    usual = extra_config()

    def annotated(step: dict[str, Any]) -> None:
        if step["op"] == "refresh" and "outputs" in step.get("new", {}):
            step["diffs"], step["detailedDiff"] = ["annotation"], {"annotation": {"diffKind": "update"}}
            step["new"]["outputs"]["annotation"] = f"root is {HASH}"

    look = run(recorded("unchanged-look", annotated), usual, usual, usual)
    report = build("lab", run(recorded("unchanged-plan"), usual, usual), look)
    assert report.drift
    for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
        assert HASH not in shown
        assert "root is <redacted:" in shown.replace("\\", "")


def test_a_change_that_is_not_shown_is_none_that_is_reported_not_to_be_there() -> None:
    report, _ = password_report("")
    assert report.verdict == "A change that is not shown (reboot)."
    assert (report.outcome, report.changing) == (Outcome.CHANGES, True)
    assert "the stack file has what was deployed" not in text_of(report) + markdown_of(report)
    assert not unchanged().changing


def test_a_report_loads_nothing_that_renders_and_begins_at_once() -> None:
    code = "import sys, lbstack.review.preview, lbstack.review.markdown; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "jinja2", "cryptography", "pulumi", "lbstack.config.models", "lbstack.render.files"} & set(
        loaded
    )


def test_another_generation_of_the_packages_is_a_hand_over_in_the_report_and_says_whose_sessions_it_costs() -> None:
    config, secrets = case()
    raised = config.model_copy(update={"packages": config.packages.model_copy(update={"generation": 2})})
    pair = render_pair(raised, secrets)
    usual, new = extra_config(), extra_config(pair=pair)

    def live(step: dict[str, Any]) -> None:
        for side in ("new", "inputs"):
            (step.get(side) or {}).setdefault("inputs", {})["extraConfigRebootRequired"] = False

    answers = {MASTER: Answer("a" * 64, "master"), STANDBY: Answer("a" * 64, "backup")}
    planned = run(recorded("set-plan", live), usual, new)
    report = build("lab", planned, run(recorded("unchanged-look"), usual, usual, usual), answers)
    effects = {file.path: file.effect for file in report.files}
    assert effects["/etc/lbstack/node.json"] == "hand-over"
    sessions = {node.node: node.sessions for node in report.nodes}
    assert sessions[STANDBY].startswith("hand-over: packages generation 2; none, its peer holds the VIPs meanwhile")
    assert sessions[MASTER].startswith("hand-over: packages generation 2; the VIPs go to its peer first")
    assert "reboots where the kernel or systemd is new" in markdown_of(report)
