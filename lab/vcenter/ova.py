"""Make the OVA of the lab's content library: the descriptor of Photon's, with an empty disk.

Hardware version, guest type, controller, network name and sizes are those of the hardware-13 UEFI image of Photon 3.0
(``docs/fidelity.md``). The disk is empty, because the simulated vCenter boots nothing.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.system.debian import search_path

RECIPE = 1  # raise it when the OVA is made in another way
DISK_MIB = 16384
CPUS = 1
MEMORY_MIB = 2048
DISK_NAME = "disk1.vmdk"
# Resource types of CIM_ResourceAllocationSettingData, as OVF uses them (DSP0243).
CPU, MEMORY, PARALLEL_SCSI, ETHERNET, DISK = 3, 4, 6, 10, 17

DESCRIPTOR = f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
          xmlns:vmw="http://www.vmware.com/schema/ovf"
          xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{DISK_NAME}" ovf:id="file1" ovf:size="%(size)d"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{DISK_MIB}" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1"
          ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="None"><Description>The network of the image's builder</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info>
    <Name>photon</Name>
    <OperatingSystemSection ovf:id="100" vmw:osType="other3xLinux64Guest"><Info>Guest</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>photon</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>CPU</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>{CPU}</rasd:ResourceType>
        <rasd:VirtualQuantity>{CPUS}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>Memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>{MEMORY}</rasd:ResourceType>
        <rasd:VirtualQuantity>{MEMORY_MIB}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>{PARALLEL_SCSI}</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>{DISK}</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>None</rasd:Connection>
        <rasd:ElementName>Network adapter 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>{ETHERNET}</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


def fixture(cache: Path, name: str) -> Path:
    """The OVA in the cache, made there first where it is missing.

    Args:
        cache: The project's cache directory.
        name: Base name of the file without ``.ova``; a library import takes the item's name from it.

    Returns:
        The path of a whole OVA.

    Raises:
        LabError: qemu-img is missing or failed.
    """
    key = hashlib.sha256(f"{RECIPE}\n{DESCRIPTOR}".encode()).hexdigest()[:16]
    wanted = cache / "ova" / key / f"{name}.ova"
    if wanted.exists():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent) as scratch:
        made = Path(scratch) / wanted.name
        _pack(made, name, _disk(Path(scratch)))
        made.replace(wanted)
    return wanted


def _disk(scratch: Path) -> bytes:
    raw, vmdk = scratch / "disk.raw", scratch / DISK_NAME
    qemu_img = shutil.which("qemu-img", path=search_path())
    if qemu_img is None:
        raise LabError("qemu-img is not installed; it makes the OVA's disk. `make lab` installs it (qemu-utils).")
    for arguments in (
        ["create", "-q", "-f", "raw", str(raw), f"{DISK_MIB}M"],
        ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(vmdk)],
    ):
        result = subprocess.run([qemu_img, *arguments], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise LabError(
                f"qemu-img {arguments[0]} failed in {scratch.parent}: {result.stderr.strip()}\n"
                "It needs 10 MiB on a file system that knows sparse files; XDG_CACHE_HOME names another place."
            )
    raw.unlink()
    return vmdk.read_bytes()


def _pack(path: Path, name: str, disk: bytes) -> None:
    """Descriptor first, as the OVF specification wants it; owners and times fixed."""
    descriptor = (DESCRIPTOR % {"size": len(disk)}).encode()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, content in ((f"{name}.ovf", descriptor), (DISK_NAME, disk)):
            entry = tarfile.TarInfo(member)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
