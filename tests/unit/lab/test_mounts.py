"""What the lab concludes from the mounts of a machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from lab.errors import LabError
from lab.guests import groups, image
from lab.running import surroundings


class Mount(NamedTuple):
    """One mount as psutil describes it."""

    mountpoint: str
    fstype: str


def mounted(monkeypatch: pytest.MonkeyPatch, *mounts: Mount) -> None:
    """Give this machine these mounts, none of them of a device."""

    def partitions(*, all: bool = False) -> list[Mount]:  # noqa: A002 - psutil's own name
        return list(mounts) if all else []

    monkeypatch.setattr(psutil, "disk_partitions", partitions)


def test_a_half_built_image_is_not_removed_with_what_is_mounted_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half built"
    (half / "dev").mkdir(parents=True)
    mounted(monkeypatch, Mount("/", "ext4"), Mount(str(half / "dev"), "devtmpfs"))
    with pytest.raises(LabError, match=r"half built/dev is mounted inside"):
        image._remove(half)
    assert (half / "dev").exists()
    mounted(monkeypatch, Mount("/", "ext4"), Mount(f"{half}-of-another-name/dev", "devtmpfs"))
    image._remove(half)
    assert not half.exists()


def test_control_groups_are_found_where_they_are_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Mount("/sys/fs/cgroup/systemd", "cgroup"), Mount("/sys/fs/cgroup/unified", "cgroup2")
    mounted(monkeypatch, Mount("/", "ext4"), first, second)
    assert groups.control_groups() == Path(second.mountpoint)
    assert groups.hierarchies() == [Path(first.mountpoint), Path(second.mountpoint)]
    mounted(monkeypatch, Mount("/", "ext4"), first)
    with pytest.raises(LabError, match="no control groups of version 2"):
        groups.control_groups()


@pytest.mark.parametrize(("kind", "works"), [("overlay", False), ("ext4", True)])
def test_the_last_of_the_nearest_mounts_decides_whether_a_directory_is_on_an_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, works: bool
) -> None:
    covered = Mount(str(tmp_path), "tmpfs")
    mounted(monkeypatch, Mount("/", "overlay"), Mount("/", "ext4"), covered, Mount(str(tmp_path), kind))
    assert surroundings._on_overlay(tmp_path / "lab of one" / "state") is not works
