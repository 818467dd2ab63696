"""Guestinfo as a source of cloud-init 20.4, which has none of its own; Photon 3.0 Revision 3 adds one of this name.

It asks VMware Tools' command for the keys guestinfo.metadata, guestinfo.userdata and guestinfo.vendordata, each with
its .encoding: base64 or b64, gzip+base64 or gz+b64, else plain. Metadata is JSON or YAML. The network in it is left
alone, as on an image that switches cloud-init's network off.
"""

import base64
import gzip
import subprocess

from cloudinit import sources, util

COMMAND = "/usr/bin/vmware-rpctool"
KEYS = ("metadata", "userdata", "vendordata")
NOBODY = "iid-vmware-guestinfo"


def ask(key):
    """The text of a key of guestinfo; empty where there is none."""
    argv = [COMMAND, "info-get guestinfo." + key]
    answer = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return answer.stdout.decode() if answer.returncode == 0 else ""


def value(key):
    """The value of a key, decoded."""
    text, encoding = ask(key), ask(key + ".encoding").strip().lower()
    if encoding in ("base64", "b64"):
        return base64.b64decode(text).decode()
    if encoding in ("gzip+base64", "gz+b64"):
        return gzip.decompress(base64.b64decode(text)).decode()
    return text


class DataSourceVMwareGuestInfo(sources.DataSource):
    """What cloud-init knows of a VM by its guestinfo."""

    dsname = "VMwareGuestInfo"

    def _get_data(self):
        found = {key: value(key) for key in KEYS}
        if not any(found.values()):
            return False
        self.metadata = util.load_yaml(found["metadata"], default={}) or {}
        self.metadata.setdefault("instance-id", NOBODY)
        self.userdata_raw = found["userdata"]
        self.vendordata_raw = found["vendordata"] or None
        return True

    def _get_subplatform(self):
        return f"guestinfo ({COMMAND})"


datasources = [
    (DataSourceVMwareGuestInfo, (sources.DEP_FILESYSTEM,)),
    (DataSourceVMwareGuestInfo, (sources.DEP_FILESYSTEM, sources.DEP_NETWORK)),
]


def get_datasource_list(depends):
    """The classes that fit what is there already."""
    return sources.list_from_depends(depends, datasources)
