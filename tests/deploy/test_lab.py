"""The lab itself: it comes up, comes up again, survives what happens to it, and goes without a trace."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyVim.connect import SmartConnect
from pyVmomi import vim

from lab.errors import LabError
from lab.guests import image, preflight
from lab.home import certificates, stackfile, state
from lab.home.credentials import credentials_of
from lab.network import switch
from lab.running import lifecycle, surroundings
from lab.system import processes
from lab.vcenter import server as vsphere
from tests import ports
from tests.deploy.engine import Result
from tests.deploy.harness import Harness
from tests.tiers import require

PAIR = {"PhotonLB-01", "PhotonLB-02"}
PROGRAMS = Path(__file__).parent / "programs"
UP_S = 120.0  # two labs at once without a deployment take four seconds

NewLab = Callable[[], Harness]


def vcenter_of(lab: Harness) -> vsphere.VCenter:
    """The lab's running vCenter."""
    current = vsphere.running(lab.paths)
    assert current is not None
    return current


def leftovers(lab: Harness) -> list[processes.Process]:
    """Every process that was started with a path of this lab."""
    root = str(lab.paths.root)
    return [
        process
        for process in processes.everything()
        if any(root in part for part in process.command) and process.pid != os.getpid()
    ]


def assert_whole(lab: Harness) -> None:
    """The post's pair is there once, powered on, and neither Pulumi nor vCenter has anything to change."""
    machines = lab.machines()
    assert set(machines) == PAIR
    assert {machine.power for machine in machines.values()} == {"on"}
    lab.preview("--expect-no-changes").ok()
    lab.drift().ok()


def kill_at(lab: Harness, mark: str) -> None:
    """Run `up` and kill it with everything that it runs as soon as it prints a text."""
    running = lab.start_cli("up")
    with running:
        assert running.stdout
        seen = ""
        for line in running.stdout:
            seen += line
            if mark in line:
                os.killpg(running.pid, signal.SIGKILL)
                return
    raise AssertionError(f"{mark!r} was never printed:\n{seen}")


def test_a_newcomer_gets_vips_and_the_statistics_page_and_a_second_run_changes_nothing(new_lab: NewLab) -> None:
    lab = new_lab()
    committed = stackfile.SOURCE.read_bytes()
    first = lab.cli("up").ok()
    for text in ("PhotonLB-01", "192.168.6.122", "192.168.6.123", "192.168.6.124", "http://192.168.6.122:8404/stats"):
        assert text in first.out
    before, uuids = vcenter_of(lab).process, {machine.uuid for machine in lab.machines().values()}
    second = lab.cli("up").ok()
    assert "9 unchanged" in second.text
    assert vcenter_of(lab).process.identity == before.identity
    assert {machine.uuid for machine in lab.machines().values()} == uuids
    assert_whole(lab)
    assert stackfile.SOURCE.read_bytes() == committed
    lab.cli("down").ok()
    assert not lab.paths.root.exists()
    assert not leftovers(lab)
    assert "There is no lab" in lab.cli("down").ok().text


@pytest.mark.parametrize(
    "mark",
    [
        "vCenter serves",
        "Importing",
        "pair-node2 creating",
        "pair-node1 creating",
        "pair-node1 created",
    ],
)
def test_an_up_killed_at_any_moment_is_finished_by_the_next(new_lab: NewLab, mark: str) -> None:
    lab = new_lab()
    kill_at(lab, mark)
    locked = bool(lab.checkpoint.locks())
    assert locked is mark.startswith("pair-")
    again = lab.cli("up").ok()
    assert ("lock of a Pulumi run that was killed" in again.text) is locked
    assert_whole(lab)


def test_a_lab_killed_while_pulumi_works_lets_it_finish_and_the_next_run_waits(new_lab: NewLab) -> None:
    lab = new_lab()
    running = lab.start_cli("up")
    with running:
        assert running.stdout
        for line in running.stdout:
            if "pair-node2 creating" in line:
                running.kill()
                break
    again = lab.cli("up").ok()
    assert "A Pulumi of this lab is still at work" in again.text
    assert not lab.checkpoint.unfinished()
    assert_whole(lab)


def test_a_half_started_lab_goes_down(new_lab: NewLab) -> None:
    lab = new_lab()
    kill_at(lab, "pair-node2 creating")
    lab.cli("down")
    assert not lab.paths.root.exists()
    assert not leftovers(lab)


def test_a_note_that_was_cut_when_pulumi_was_killed_hides_no_record(new_lab: NewLab) -> None:
    """Pulumi's local backend empties a file's note before it fills it; a kill in between is made here by hand."""
    lab = new_lab()
    lab.cli("up").ok()
    uuids = {machine.uuid for machine in lab.machines().values()}
    lab.checkpoint.file.with_name("lab.json.attrs").write_text("")
    assert "failed to load checkpoint: EOF" in lab.preview().refused().text  # else this would show nothing
    again = lab.cli("up").ok()
    assert "its record is as it was before that step" in again.text
    assert "9 unchanged" in again.text
    assert {machine.uuid for machine in lab.machines().values()} == uuids
    assert_whole(lab)


def test_a_record_that_cannot_be_read_gives_way_to_its_backup_and_without_one_the_lab_can_still_go(
    new_lab: NewLab,
) -> None:
    lab = new_lab()
    lab.prepare()
    before = lab.checkpoint.file.read_bytes()
    lab.up().ok()
    uuids = {machine.uuid for machine in lab.machines().values()}
    lab.checkpoint.file.write_text("")
    lab.checkpoint.backup.write_bytes(before)  # it knows of none of the VMs
    assert "failed to load checkpoint" in lab.preview().refused().text
    assert "record of the stack is empty or cut. `make lab` puts its backup" in lab.cli("status").refused(1).text
    again = lab.cli("up").ok()
    assert "its backup, one step older, takes its place" in again.text
    assert_whole(lab)
    assert not uuids & {machine.uuid for machine in lab.machines().values()}
    cut = lab.checkpoint.file.read_bytes()[:1000]
    lab.checkpoint.file.write_bytes(cut)
    lab.checkpoint.backup.unlink()
    refused = lab.cli("up").refused(2)
    assert f"is empty or cut ({lab.checkpoint.file}), and there is no backup" in refused.text
    assert "`make lab-down` throws the lab away" in refused.text
    assert lab.checkpoint.file.read_bytes() == cut
    assert "what there is goes with the simulated vCenter" in lab.cli("down").ok().text
    assert not lab.paths.root.exists()
    assert not leftovers(lab)


def test_a_vcenter_that_lost_its_memory_is_noticed_and_the_pair_made_again_or_taken_down(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.cli("up").ok()
    os.kill(vcenter_of(lab).process.pid, signal.SIGKILL)
    assert "vCenter does not run. `make lab` starts it." in lab.cli("status").refused(1).text
    again = lab.cli("up").ok()
    assert "nothing of that deployment exists any more" in again.text
    assert_whole(lab)
    os.kill(vcenter_of(lab).process.pid, signal.SIGKILL)
    assert "does not run any more" in lab.cli("down").ok().text
    assert not lab.paths.root.exists()


def test_a_stale_pid_file_harms_nobody(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.prepare()
    ready = json.loads(vsphere.ready_file(lab.paths).read_text())
    os.kill(ready["pid"], signal.SIGKILL)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with bystander:
        vsphere.ready_file(lab.paths).write_text(json.dumps(ready | {"pid": bystander.pid}))
        assert vsphere.running(lab.paths) is None
        lab.prepare()
        assert vcenter_of(lab).process.pid not in (ready["pid"], bystander.pid)
        assert bystander.poll() is None
        bystander.communicate(b"\n", timeout=30)
        assert bystander.returncode == 0


def test_a_vcenter_that_does_not_answer_is_replaced(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.prepare()
    hung = vcenter_of(lab).process
    os.kill(hung.pid, signal.SIGSTOP)
    assert "it does not answer any more" in lab.cli("up", "--no-deploy").ok().text
    assert not hung.alive
    assert lab.machines() == {}


def test_a_taken_port_is_avoided_unless_it_is_asked_for(new_lab: NewLab) -> None:
    lab = new_lab()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = lab.cli("up", "--port", str(port)).refused(2)
        assert f"Port {port} is taken by" in refused.text
        assert f"(pid {os.getpid()})" in refused.text
        record = lab.record
        record.port = port  # a lab tries the port of its last run first
        state.write_record(lab.paths, record)
        moved = lab.cli("up", "--no-deploy").ok()
        assert f"Port {port} is taken by" in moved.text
    assert vcenter_of(lab).port != port
    assert lab.config[stackfile.SERVER] == vcenter_of(lab).server


def test_two_labs_that_start_at_once_and_prefer_the_same_port_both_come_up(new_lab: NewLab) -> None:
    labs = [new_lab(), new_lab()]
    with ports.reserved() as port:
        for lab in labs:
            record = state.prepare(lab.paths)
            record.port = port
            state.write_record(lab.paths, record)
        for running in [lab.start_cli("up", "--no-deploy") for lab in labs]:
            output, _ = running.communicate(timeout=UP_S)
            assert running.returncode == 0, output
        assert {vcenter_of(lab).port == port for lab in labs} == {True, False}
    for lab in labs:
        before = vcenter_of(lab)
        assert lab.config[stackfile.SERVER] == before.server
        assert lab.record.port == before.port
        assert lab.machines() == {}  # the answer of its own vCenter: each lab has a CA of its own
        lab.cli("up", "--no-deploy").ok()
        assert vcenter_of(lab) == before


def test_two_ups_at_once_are_one_up_and_one_refusal(new_lab: NewLab) -> None:
    lab = new_lab()
    running = lab.start_cli("up", "--no-deploy")
    with running:
        assert running.stdout
        running.stdout.readline()
        os.kill(running.pid, signal.SIGSTOP)  # so that it is still at work however late the other one begins
        try:
            refused = lab.cli("up").refused(2)
        finally:
            os.kill(running.pid, signal.SIGCONT)
        assert f"(pid {running.pid}) is at work on this lab" in refused.text
        running.stdout.read()
        assert running.wait(60) == 0


@pytest.mark.parametrize(("mib", "words"), [(40, "40 MiB free, a lab needs 64 MiB"), (80, "The disk is full")])
def test_a_full_disk_is_reported_in_words(new_lab: NewLab, mib: int, words: str) -> None:
    require("root", "unshare")
    lab = new_lab()
    place = lab.paths.root.parent
    command = f"mount -t tmpfs -o size={mib}m lab {place} && exec {sys.executable} -m lab up --state {lab.paths.root}"
    try:
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        vsphere.stop(lab.paths)
    refused = Result(command, result.returncode, result.stdout, result.stderr).refused(2)
    assert words in refused.text.replace("39 MiB", "40 MiB")


def test_a_directory_with_other_things_is_left_alone(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.paths.root.mkdir()
    (lab.paths.root / "letters").write_text("private")
    for command in ("up", "down"):
        assert "is not a lab's" in lab.cli(command).refused(2).text
    assert (lab.paths.root / "letters").read_text() == "private"
    (lab.paths.root / "letters").unlink()


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")  # pyVmomi leaves a refused login's socket open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wrong_password_is_refused_by_vcenter_and_by_the_provider(pair: Harness) -> None:
    context = ssl.create_default_context(cafile=certificates.ca_file(pair.paths))
    user = str(pair.config[stackfile.USER])
    port = vcenter_of(pair).port
    with pytest.raises(vim.fault.InvalidLogin):
        SmartConnect(host="127.0.0.1", port=port, user=user, pwd="wrong", sslContext=context)
    gc.collect()  # here, and not in a later test
    before = {machine.uuid for machine in pair.machines().values()}
    with pair.edited(lambda config: None):
        pair.pulumi("config", "set", "--secret", "vsphere:password", given="wrong").ok()
        refused = pair.up().refused()
    assert "Login failure" in refused.text
    assert {machine.uuid for machine in pair.machines().values()} == before
    pair.up().ok()


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_that_nobody_vouches_for_is_refused(tier_lab: Harness) -> None:
    port = vcenter_of(tier_lab).port
    with pytest.raises(ssl.SSLCertVerificationError):
        SmartConnect(host="127.0.0.1", port=port, user="x", pwd="x", sslContext=ssl.create_default_context())
    gc.collect()
    unset = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    assert "is not trusted" in tier_lab.pulumi("preview", environment=unset).refused().text


def test_a_vm_without_guestinfo_makes_the_providers_wait_fail(tools: None, short_directory: Callable[[], Path]) -> None:
    lab = Harness(short_directory() / "lab", PROGRAMS / "no_guestinfo")
    try:
        lab.prepare()
        failed = lab.up().refused()
        assert "timeout waiting for an available IP address" in failed.text
        assert lab.machines()["silent"].address == ""
    finally:
        lab.remove()


def test_exec_runs_in_the_labs_environment(pair: Harness) -> None:
    vips = json.loads(pair.cli("exec", "--", "pulumi", "stack", "output", "vips", "--json").ok().out)
    assert vips["horizon"] == "192.168.6.123"
    pair.cli("exec", "--", "pulumi", "preview", "--diff", "--expect-no-changes").ok()
    assert pair.cli("exec", "--", "govc", "about").ok().out
    assert pair.cli("exec", "--", "sh", "-c", "exit 7").code == 7
    assert "is not found" in pair.cli("exec", "--", "no-such-program").refused(2).text


def test_status_shows_machines_and_outputs_and_passwords_only_on_request(pair: Harness) -> None:
    found = json.loads(pair.cli("status", "--json").ok().out)
    assert {machine["name"]: machine["address"] for machine in found["machines"]} == {
        "PhotonLB-01": "192.168.6.120",
        "PhotonLB-02": "192.168.6.121",
    }
    assert found["vcenter"]["running"]
    assert found["outputs"]["vips"]["stats"] == "192.168.6.122"
    passwords = credentials_of(pair.paths).passwords()
    table = pair.cli("status").ok().text
    assert not [name for name, password in passwords.items() if password in table or password in json.dumps(found)]
    shown = pair.cli("status", "--show-passwords").ok().text
    assert not [name for name, password in passwords.items() if password not in shown]


def test_without_a_lab_each_command_shows_how_to_make_one(new_lab: NewLab) -> None:
    lab = new_lab()
    for arguments in (["exec", "--", "true"], ["logs"]):
        assert "`make lab` makes one" in lab.cli(*arguments).refused(2).text
    assert "`make lab` makes one" in lab.cli("status").refused(1).text


def test_logs_show_what_vcenter_and_pulumi_printed(pair: Harness) -> None:
    pair.cli("up").ok()
    assert "serving 127.0.0.1:" in pair.cli("logs", "vcenter").ok().out
    assert "--- pulumi up" in pair.cli("logs", "pulumi").ok().out


def test_the_doctor_answers_for_this_machine(tier_lab: Harness) -> None:
    findings = json.loads(tier_lab.cli("doctor", "--json").ok().out)
    names = {finding["name"] for finding in findings}
    assert {"platform", "root", "python", "memory", "pulumi", "vcenter", "network namespaces"} <= names
    assert not [finding for finding in findings if finding["verdict"] != "ok" and not finding["remedy"]]


def test_nothing_secret_is_left_in_logs_stack_file_or_state(pair: Harness) -> None:
    texts = pair.public_texts()
    assert any(name.endswith("lab.json") for name in texts)
    found = [
        (name, secret)
        for secret, needle in pair.plain_secrets().items()
        for name, text in texts.items()
        if needle in text
    ]
    assert not found


def test_where_guests_cannot_boot_up_shows_why_and_deploys_all_the_same(
    new_lab: NewLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their image cannot be made here; everything that can be seen at a glance is there."""
    lab = new_lab()
    lab.guests = True

    def cannot(name: str, progress: Callable[[str], None]) -> tuple[Path, Path]:
        raise LabError(f"The {name} image cannot be built: no archive answers.")

    monkeypatch.setattr(preflight, "preflight", lambda: iter(()))
    monkeypatch.setattr(switch, "preflight", lambda: iter(()))
    monkeypatch.setattr(image, "TOOLS", ())
    monkeypatch.setattr(surroundings, "_on_overlay", lambda place: False)
    monkeypatch.setattr(surroundings, "ensure_layers", cannot)
    output: list[str] = []
    lifecycle.up(lab.paths, port=None, progress=output.append, show=output.append)
    reported = output.index("No guests boot here, so the pair is deployed and nothing is rehearsed. What is missing:")
    assert output[reported + 1] == "  The bookworm image cannot be built: no archive answers."
    assert not lab.record.guests
    assert_whole(lab)
