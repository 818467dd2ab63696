"""The OVA fixture: the shape of Photon's, made once."""

from __future__ import annotations

import tarfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lab.errors import LabError
from lab.vcenter import ova

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
VMW = "{http://www.vmware.com/schema/ovf}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
VSSD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData}"


@pytest.fixture
def qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for qemu-img that writes its last argument and keeps its calls."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "qemu-img"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        'for last; do :; done\ncase "$last" in *M) shift 4; last=$1;; esac\nprintf vmdk > "$last"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return program


def test_it_is_made_once_and_holds_descriptor_then_disk(qemu_img: Path, tmp_path: Path) -> None:
    made = ova.fixture(tmp_path / "cache", "photon-x")
    assert ova.fixture(tmp_path / "cache", "photon-x") == made
    assert len((tmp_path / "calls").read_text().splitlines()) == 2  # create and convert, once each
    with tarfile.open(made) as archive:
        assert archive.getnames() == ["photon-x.ovf", "disk1.vmdk"]
        disk = archive.extractfile("disk1.vmdk")
        assert disk is not None
        assert disk.read() == b"vmdk"
    assert [entry.name for entry in made.parent.iterdir()] == ["photon-x.ova"]


def test_the_descriptor_is_that_of_photons_uefi_image(qemu_img: Path, tmp_path: Path) -> None:
    with tarfile.open(ova.fixture(tmp_path / "cache", "photon-x")) as archive:
        descriptor = archive.extractfile("photon-x.ovf")
        assert descriptor is not None
        root = ET.fromstring(descriptor.read())
    assert root.findtext(f".//{VSSD}VirtualSystemType") == "vmx-13"
    system = root.find(f".//{OVF}OperatingSystemSection")
    assert system is not None
    assert system.get(f"{VMW}osType") == "other3xLinux64Guest"
    settings = {config.get(f"{VMW}key"): config.get(f"{VMW}value") for config in root.iter(f"{VMW}Config")}
    assert settings == {"firmware": "efi"}
    file = root.find(f".//{OVF}File")
    assert file is not None
    assert file.get(f"{OVF}size") == str(len(b"vmdk"))
    items = {item.findtext(f"{RASD}ResourceType"): item for item in root.iter(f"{OVF}Item")}
    controller, disk, card = items[str(ova.PARALLEL_SCSI)], items[str(ova.DISK)], items[str(ova.ETHERNET)]
    assert disk.findtext(f"{RASD}Parent") == controller.findtext(f"{RASD}InstanceID")
    assert card.findtext(f"{RASD}ResourceSubType") == "VmxNet3"
    assert card.findtext(f"{RASD}Connection") == "None"


def test_a_missing_qemu_img_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.system.debian.SYSTEM_PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"qemu-img is not installed.*qemu-utils"):
        ova.fixture(tmp_path / "cache", "photon-x")


def test_a_failing_qemu_img_is_quoted_and_leaves_nothing(qemu_img: Path, tmp_path: Path) -> None:
    qemu_img.write_text("#!/bin/sh\necho 'No space left on device' >&2\nexit 1\n")
    with pytest.raises(LabError, match=r"qemu-img create failed.*No space left on device"):
        ova.fixture(tmp_path / "cache", "photon-x")
    assert not list((tmp_path / "cache").rglob("*.ova"))
