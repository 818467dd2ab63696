"""What `lbstack import` refuses: every problem at once with file and line, nothing written, nothing overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lbstack import cli
from lbstack.problems import ConfigError
from lbstack.scaffold.handbuilt import write as results
from lbstack.scaffold.handbuilt.build import build
from lbstack.scaffold.handbuilt.lines import LONGEST
from lbstack.scaffold.handbuilt.sources import MAX_BYTES, MAX_FILES, read
from tests.unit.scaffold.handbuilt.support import FIXTURES, of

PAIR = [str(path) for path in sorted((FIXTURES / "how-to-1").iterdir())]
Printed = pytest.CaptureFixture[str]


def problems_of(deed: Callable[[], object]) -> dict[str, str]:
    """Place → what is wrong there, of what a deed is refused for."""
    with pytest.raises(ConfigError) as refused:
        deed()
    assert all(problem.remedy.endswith(".") for problem in refused.value.problems)
    return {problem.path: problem.what for problem in refused.value.problems}


GOOD = "frontend a\n  bind 10.0.0.1:443\n"


@pytest.mark.parametrize(
    ("name", "content", "place", "what"),
    [
        ("haproxy.cfg", b"", "", "is empty"),
        ("haproxy.cfg", b" \n\t\n", "", "is empty"),
        ("haproxy.cfg", b"# nothing\n", "", "has no section"),
        ("haproxy.cfg", b"global\n  daemon\0\n", "", "is not text: it has a NUL byte"),
        ("haproxy.cfg", "global\n".encode("utf-16"), "", "is not text: it has a NUL byte"),
        ("haproxy.cfg", "global\n# contrase\xf1a\n".encode("latin-1"), ":2", "is not UTF-8 (byte 17)"),
        ("haproxy.cfg", b"global\n" + b"# x\n" * MAX_BYTES, "", f"has more than {MAX_BYTES} bytes"),
        ("haproxy.cfg", b"global\n  log " + b"x" * LONGEST, ":2", f"has {LONGEST + 6} characters"),
        ("haproxy.cfg", b"global\n  log \x1b[31m\n", ":2", "has a control character"),
        ("haproxy.cfg", b'global\n  log "x\n', ":2", "has a quote that is not closed"),
        ("haproxy.cfg", b"[Match]\nName=eth0\n", ":1", "is not in a section"),
        ("haproxy.cfg", b"frontend\n", ":1", "begins a frontend without a name"),
        (
            "keepalived.conf",
            b"vrrp_instance A {\n  state MASTER\n",
            ":1",
            "opens the block vrrp_instance, which is not closed",
        ),
        ("keepalived.conf", b"a {\n}\n}\n", ":3", "closes a brace that was not opened"),
        ("keepalived.conf", b"{\n}\n", ":1", "opens a brace that belongs to nothing"),
        ("10-eth0.network", b"[Match]\nsecret words\n", ":2", "is not a setting of a .network file"),
        ("55-x.conf", b"net.ipv4.ip_forward\n", ":1", "is not a setting of the kernel"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_with_its_place(
    tmp_path: Path, name: str, content: bytes, place: str, what: str
) -> None:
    directory = tmp_path / "node1"
    directory.mkdir()
    (directory / "haproxy.cfg").write_text(GOOD)
    (directory / name).write_bytes(content)
    found = problems_of(lambda: of(directory))
    assert [(path.removeprefix(f"{tmp_path}/").removeprefix("node1/"), text) for path, text in found.items()] == [
        (f"{name}{place}", what)
    ]


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    texts = {"haproxy__cfg": 'global\n log "a\n log "b\n', "keepalived__conf": "x {\n", "eth__network": "words\n"}
    found = problems_of(lambda: of(tmp_path / "node1", **texts))
    assert set(found) == {
        "node1/haproxy.cfg:2",
        "node1/haproxy.cfg:3",
        "node1/keepalived.conf:1",
        "node1/eth.network:1",
    }


def test_no_problem_quotes_a_line(tmp_path: Path) -> None:
    texts = {
        "haproxy__cfg": 'hunter2 x\n stats auth a:"hunter2\n',
        "x__network": "hunter2\n",
        "keepalived__conf": "hunter2 {",
    }
    with pytest.raises(ConfigError) as refused:
        of(tmp_path / "node1", **texts)
    assert "hunter2" not in str(refused.value)


def test_directories_that_are_none_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(GOOD)
    assert problems_of(lambda: read([file, tmp_path / "none", tmp_path])) == {
        str(file): "is a file",
        str(tmp_path / "none"): "does not exist",
        str(tmp_path): "is a third node",
    }


def test_a_directory_without_services_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keepalived.conf").write_text("x {\n}\n")
    assert problems_of(lambda: read([tmp_path])) == {str(tmp_path): "has no haproxy.cfg"}


def test_a_second_haproxy_cfg_of_a_node_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "haproxy.cfg").write_text(GOOD)
    found = problems_of(lambda: read([tmp_path]))
    assert list(found) == [str(tmp_path / "b" / "haproxy.cfg")]


def test_a_whole_file_system_is_refused(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.txt").touch()
    assert problems_of(lambda: read([tmp_path])) == {str(tmp_path): f"has more than {MAX_FILES} files"}


def test_unknown_files_links_and_pipes_are_listed_and_not_opened(tmp_path: Path) -> None:
    node = tmp_path / "node1"
    node.mkdir()
    (node / "haproxy-original.cfg").write_text("stats auth admin:hunter2")
    os.mkfifo(node / "keepalived.conf")
    (node / "ip4save").symlink_to(tmp_path / "elsewhere")
    made = of(node, haproxy__cfg=GOOD)
    assert [Path(path).name for path in made.report.unread] == ["haproxy-original.cfg", "ip4save", "keepalived.conf"]
    assert "## Files that were not read" in made.report.text()


def test_files_of_windows_are_read_alike(tmp_path: Path) -> None:
    files = {path.name: path.read_text() for path in (FIXTURES / "how-to-1" / "node1").iterdir()}
    unix, windows = tmp_path / "a" / "node1", tmp_path / "b" / "node1"
    for directory, end, mark in ((unix, "\n", b""), (windows, "\r\n", b"\xef\xbb\xbf")):
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / name).write_bytes(mark + text.replace("\n", end).encode())
    assert of(windows).stack_file == of(unix).stack_file
    assert of(windows).report.text() == of(unix).report.text()


def test_nodes_whose_haproxy_differs_are_told(tmp_path: Path) -> None:
    for node, port in ((1, 443), (2, 444)):
        directory = tmp_path / f"node{node}"
        directory.mkdir()
        (directory / "haproxy.cfg").write_text(
            f"frontend a\n bind 10.0.0.1:{port}\n default_backend b\nbackend b\n server s 10.0.0.9:443\n"
        )
    made = build(read([tmp_path / "node1", tmp_path / "node2"]))
    told = [entry for entry in made.report.entries if "decide which" in entry.why]
    assert [entry.line.where for entry in told] == ["node1/haproxy.cfg:2", "node2/haproxy.cfg:2"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_stack_file_and_prints_the_report(tmp_path: Path, capsys: Printed) -> None:
    out = tmp_path / "Pulumi.prod.yaml"
    assert cli.main(["import", *PAIR, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# What became of the hand-built pair's files")
    assert "22 values of the stack file have to be decided" in printed.err
    assert out.read_text().startswith("# yaml-language-server")
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert cli.main(["check", str(out)]) == 2
    assert "22 problems" in capsys.readouterr().err


def test_the_report_goes_to_a_file_and_is_data_where_asked(tmp_path: Path, capsys: Printed) -> None:
    out, report = tmp_path / "Pulumi.prod.yaml", tmp_path / "report.json"
    assert cli.main(["import", *PAIR, "--out", str(out), "--report", str(report), "--json"]) == 0
    assert capsys.readouterr().out == ""
    data = json.loads(report.read_text())
    assert data["decisions"] == 22
    assert set(data["corrections"]) == {f"A{number}" for number in range(1, 26)}
    assert sum(data["counts"].values()) == len(data["lines"])


def test_a_second_run_overwrites_nothing(tmp_path: Path, capsys: Printed) -> None:
    out, report = tmp_path / "Pulumi.prod.yaml", tmp_path / "report.md"
    out.write_text("mine")
    report.symlink_to(tmp_path / "nowhere")
    assert cli.main(["import", *PAIR, "--out", str(out), "--report", str(report)]) == 2
    printed = capsys.readouterr()
    assert f"{out}: exists" in printed.err
    assert f"{report}: exists" in printed.err
    assert out.read_text() == "mine"
    assert report.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_places_that_are_of_no_use_are_refused_at_once(tmp_path: Path) -> None:
    out, report = tmp_path / "prod.yaml", tmp_path / "none" / "report.md"
    assert problems_of(lambda: results.require_free(out, report)) == {
        str(out): "is no name of a stack file",
        str(report): "is in a directory that does not exist",
    }
    same = tmp_path / "Pulumi.x.yaml"
    assert problems_of(lambda: results.require_free(same, same)) == {str(same): "is the stack file's place"}


def test_a_file_that_comes_into_being_meanwhile_is_left_alone_and_the_other_is_not_made(tmp_path: Path) -> None:
    first, second = tmp_path / "report.md", tmp_path / "Pulumi.x.yaml"
    second.write_text("theirs")
    assert problems_of(lambda: results.write({first: "a", second: "b"})) == {str(second): "exists"}
    assert [path.name for path in tmp_path.iterdir()] == [second.name]
    assert second.read_text() == "theirs"


def test_bad_files_end_the_command_with_2_and_write_nothing(tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "haproxy.cfg").write_bytes(b"\x00\xff")
    out = tmp_path / "Pulumi.prod.yaml"
    assert cli.main(["import", str(tmp_path), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert "1 problem in the files of the hand-built pair" in printed.err
    assert "Traceback" not in printed.err
    assert not out.exists()


def test_the_stack_file_has_the_usual_permissions(tmp_path: Path) -> None:
    place = tmp_path / "Pulumi.x.yaml"
    before = os.umask(0o027)
    try:
        results.write({place: "x"})
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o640
