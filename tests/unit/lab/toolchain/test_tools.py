"""The lab's programs: found, built once, kept, and every failure reported. A stand-in for `go` does the building."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
import time
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import pytest

from lab import check
from lab.toolchain import golang, programs
from lab.toolchain import tools as toolchain
from tests.unit.lab.toolchain.toolmachine import LIMIT_S, Machine, eventually, installed_pulumi, make_machine, program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine(tmp_path, monkeypatch)


def test_everything_is_built_once_and_found_again(machine: Machine) -> None:
    assert set(machine.states().values()) == {toolchain.TO_BUILD}
    assert not machine.cache.exists(), "describing changes nothing"
    tools = machine.ensure()
    assert machine.builds() == len(programs.PROGRAMS)
    assert set(machine.states().values()) == {toolchain.CACHED}
    for path in (tools.pulumi, tools.language_host, tools.plugin, tools.vcenter, tools.govc):
        assert path is not None
        assert os.access(path, os.X_OK)
    machine.printed.clear()
    assert machine.ensure() == tools
    assert machine.builds() == len(programs.PROGRAMS)
    assert machine.printed == []


def test_what_belongs_on_path_lies_side_by_side_and_the_plugin_does_not(machine: Machine) -> None:
    tools = machine.ensure()
    directory = Path(tools.path())
    names = {path.name for path in directory.iterdir()}
    assert names == {"govc", "pulumi", "pulumi-language-python", programs.HOST_SCRIPT, f"{programs.HOST_SCRIPT}.py"}
    assert tools.pulumi.parent == directory
    assert (directory / f"{programs.HOST_SCRIPT}.py").read_text(encoding="utf-8") == "# Pulumi's own script\n"
    assert os.access(directory / programs.HOST_SCRIPT, os.X_OK)


def test_builds_are_the_same_on_every_machine(machine: Machine) -> None:
    machine.ensure()
    for call in machine.calls():
        assert call.endswith("0 local -mod=readonly -trimpath -buildvcs=false")
    built = next(call for call in machine.calls() if "pkg/v3/cmd/pulumi" in call and " build " in call)
    assert "common/version.Version=v3." in built


def test_a_key_depends_on_sources_sums_and_go_and_not_on_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(programs.LAB / "vcenter", tmp_path / "vcenter")
    monkeypatch.setattr(programs, "LAB", tmp_path)
    vcenter, govc = (programs.program_named(name) for name in (programs.VCENTER, programs.GOVC))
    go = golang.Go(Path("go"), "go1.26.8")
    seen = {vcenter.key(go), govc.key(go), vcenter.key(golang.Go(Path("go"), "go1.26.9"))}
    assert len(seen) == 3
    (tmp_path / "vcenter" / "simulator" / "more_test.go").write_text("package main\n", encoding="utf-8")
    assert vcenter.key(go) in seen
    before = govc.key(go)
    for name in ("main.go", "go.sum"):
        with (tmp_path / "vcenter" / "simulator" / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        assert vcenter.key(go) not in seen
        seen.add(vcenter.key(go))
        assert (govc.key(go) == before) is (name == "main.go")


def test_an_edited_source_is_built_again_and_nothing_else_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.ensure()
    copy = machine.here / "lab"
    shutil.copytree(programs.LAB, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    monkeypatch.setattr(programs, "LAB", copy)
    assert set(machine.states().values()) == {toolchain.CACHED}
    with (copy / "toolchain" / "plugin" / "live.go").open("a", encoding="utf-8") as file:
        file.write("// changed\n")
    assert [name for name, state in machine.states().items() if state == toolchain.TO_BUILD] == [programs.PLUGIN]


def test_a_source_that_is_edited_during_the_build_is_built_as_it_is_then(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = machine.here / "lab"
    shutil.copytree(programs.LAB, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    monkeypatch.setattr(programs, "LAB", copy)
    edits = iter(["// once\n"])

    def edit(line: str) -> None:
        if "the Pulumi command" in line:
            with (copy / "vcenter" / "simulator" / "main.go").open("a", encoding="utf-8") as file:
                file.write(next(edits, ""))

    assert toolchain.ensure_tools(edit).vcenter.exists()


def test_too_little_disk_is_reported_before_anything_is_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - what shutil.disk_usage returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1 << 30))
    with pytest.raises(toolchain.ToolchainError, match=r"6 GiB of disk, and 1\.0 GiB are free"):
        machine.ensure()
    assert machine.builds() == 0


def test_a_cache_that_cannot_be_written_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.here / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.here / "file"))
    with pytest.raises(toolchain.ToolchainError, match="XDG_CACHE_HOME names another place"):
        machine.ensure()


def test_two_runs_do_not_build_twice(machine: Machine) -> None:
    lock = machine.cache / "tools" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w", encoding="utf-8") as held:
        held.write("4711\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=machine.ensure)
        thread.start()
        eventually("it waits and prints for whom", lambda: any("pid 4711" in line for line in machine.printed))
        assert machine.builds() == 0
    thread.join(LIMIT_S)
    assert machine.builds() == len(programs.PROGRAMS)


def test_the_lock_of_a_dead_run_and_what_it_left_do_not_stand_in_the_way(machine: Machine) -> None:
    tools = machine.cache / "tools"
    (tools / ".new-killed" / "vcenter-0").mkdir(parents=True)
    (tools / "lock").write_text("4711\n", encoding="utf-8")
    machine.ensure()
    assert not any("waiting" in line for line in machine.printed)
    assert not machine.half_results()


def test_programs_that_nobody_has_used_for_a_month_are_removed_at_the_next_build(machine: Machine) -> None:
    old, young = machine.cache / "tools" / "vcenter-old", machine.cache / "tools" / "vcenter-young"
    for directory, days in ((old, 31), (young, 1)):
        directory.mkdir(parents=True)
        os.utime(directory, times=(then := time.time() - days * 86400, then))
    machine.ensure()
    assert (old.exists(), young.exists()) == (False, True)


def test_an_installed_pulumi_is_used_with_its_own_host(machine: Machine) -> None:
    path = installed_pulumi(machine, "v3.300.1")
    tools = machine.ensure()
    assert (tools.pulumi, tools.language_host) == (path, None)
    assert machine.states()[programs.PULUMI] == toolchain.INSTALLED
    assert programs.HOST not in machine.states()
    assert {entry.name for entry in Path(tools.path()).iterdir()} == {"govc"}


@pytest.mark.parametrize("number", ["v3.100.0", "", "v2.999.0"])
def test_an_installed_pulumi_that_is_too_old_is_passed_over(machine: Machine, number: str) -> None:
    installed_pulumi(machine, number)
    assert machine.states()[programs.PULUMI] == toolchain.TO_BUILD


def test_an_installed_pulumi_without_its_python_host_is_passed_over(machine: Machine) -> None:
    installed_pulumi(machine, "v3.300.1")
    (machine.bin / "pulumi-language-python").unlink()
    assert machine.states()[programs.PULUMI] == toolchain.TO_BUILD


def test_the_built_pulumi_on_path_is_not_taken_for_an_installed_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = machine.ensure()
    monkeypatch.setenv("PATH", f"{tools.path()}:{os.environ['PATH']}")
    assert machine.states()[programs.PULUMI] == toolchain.CACHED
    assert machine.ensure() == tools


def test_an_installed_plugin_is_used(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    home = machine.here / "pulumi-home"
    monkeypatch.setenv("PULUMI_HOME", str(home))
    path = program(home / "plugins" / f"resource-vsphere-v{programs.PLUGIN_VERSION}" / programs.PLUGIN, "#!/bin/sh\n")
    assert machine.ensure().plugin == path
    assert machine.states()[programs.PLUGIN] == toolchain.INSTALLED


def test_the_environment_can_ask_for_built_ones(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_pulumi(machine, "v3.300.1")
    monkeypatch.setenv("LBSTACK_TOOLS", "build")
    assert machine.states()[programs.PULUMI] == toolchain.TO_BUILD


def test_the_environment_can_ask_for_installed_ones_and_learns_what_is_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBSTACK_TOOLS", "installed")
    with pytest.raises(toolchain.ToolchainError, match="Pulumi is not installed"):
        machine.ensure()
    installed_pulumi(machine, "v3.300.1")
    with pytest.raises(toolchain.ToolchainError, match=r"pulumi plugin install resource vsphere 4\.18\.2"):
        machine.ensure()
    monkeypatch.setenv("LBSTACK_TOOLS", "sometimes")
    with pytest.raises(toolchain.ToolchainError, match="auto, build or installed"):
        machine.ensure()


def test_the_plugin_is_installed_once_for_each_home_and_again_when_it_has_changed(machine: Machine) -> None:
    tools, home = machine.ensure(), machine.here / "home"
    installs = machine.here / "installs"
    for _ in range(2):
        toolchain.install_plugin(tools, home, machine.printed.append)
        assert installs.read_text(encoding="utf-8").splitlines() == [
            f"plugin install resource vsphere 4.18.2 --file {tools.plugin} --reinstall --non-interactive"
        ]
    os.utime(tools.plugin, times=(1, 1))
    toolchain.install_plugin(tools, home, machine.printed.append)
    assert len(installs.read_text(encoding="utf-8").splitlines()) == 2


def test_a_plugin_that_cannot_be_installed_is_reported_with_pulumis_words(machine: Machine) -> None:
    tools, home = machine.ensure(), machine.here / "home"
    machine.instruct("refuses")
    with pytest.raises(toolchain.ToolchainError, match="no such directory"):
        toolchain.install_plugin(tools, home, machine.printed.append)
    machine.forget("refuses")
    toolchain.install_plugin(tools, home, machine.printed.append)


def test_the_versions_written_in_several_places_agree(checkout: Path) -> None:
    modules = sorted((checkout / "lab").rglob("go.mod"))
    assert {path.parent for path in modules} == {entry.directory for entry in (*programs.PROGRAMS, check.ACTIONLINT)}
    for module in modules:
        line = re.search(r"^go (\d+)\.(\d+)", module.read_text(encoding="utf-8"), re.MULTILINE)
        assert line is not None
        assert tuple(map(int, line.groups())) == golang.GO_MINIMUM
    assert tuple(map(int, golang.GO_WHEEL_VERSION.split(".")[:2])) >= golang.GO_MINIMUM
    assert version("pulumi-vsphere") == programs.PLUGIN_VERSION
    main = (checkout / "lab" / "toolchain" / "plugin" / "main.go").read_text(encoding="utf-8")
    assert f'version = "{programs.PLUGIN_VERSION}"' in main


def test_a_package_that_is_built_here_is_one_directory(checkout: Path) -> None:
    for entry in programs.PROGRAMS:
        if entry.package.startswith("."):
            module = (entry.directory / "go.mod").read_text(encoding="utf-8").split()[1]
            for source in entry.sources():
                text = source.read_text(encoding="utf-8")
                assert f'"{module}/' not in text, f"{source}: its key would not know that package"
