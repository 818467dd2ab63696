"""Build the layer that makes a Debian image behave like Photon OS, and keep it in the cache.

``files/root`` is copied over the image, then ``files/<image>`` where it exists; ``files/prepare`` runs inside. The
comments in those files describe what each one stands for. The layer is a directory; the caller that boots a guest
mounts an overlay over it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.guests.image import RECIPES, ensure_image
from lab.home import stackfile
from lab.system.cache import cache_directory
from lab.system.debian import search_path

Progress = Callable[[str], None]

SOURCES = Path(__file__).parent / "files"
KEY_LENGTH = 12
BUILD_TIMEOUT_S = 120.0
# With mounts of its own, which end with it whatever happens.
BUILD = """
set -eu
image=$1 layer=$2 work=$3 root=$4 sources=$5 name=$6
mount -t overlay -o "lowerdir=$image,upperdir=$layer,workdir=$work" overlay "$root"
cp -a --no-preserve=ownership "$sources/root/." "$root/"
if [ -d "$sources/$name" ]; then cp -a --no-preserve=ownership "$sources/$name/." "$root/"; fi
cp "$sources/prepare" "$root/prepare"
chroot "$root" /prepare
rm "$root/prepare"
umount "$root"
"""


def layers(name: str) -> tuple[Path, Path]:
    """Where a guest's layer and the image below it are, or would be, uppermost first."""
    image = RECIPES[name]
    digest = hashlib.sha256(image.key.encode())
    for file in sorted(SOURCES.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(SOURCES)} {file.stat().st_mode:o} ".encode() + file.read_bytes())
    cache = cache_directory()
    return cache / f"guest-{name}-{digest.hexdigest()[:KEY_LENGTH]}", cache / f"native-{name}-{image.key}"


def ensure_layers(name: str, progress: Progress) -> tuple[Path, Path]:
    """Return the directories of a guest's root, uppermost first; build what is missing.

    Args:
        name: A key of ``image.RECIPES``.
        progress: Receives a line now and then.

    Raises:
        LabError: It is not there and cannot be built on this machine; the message names the reason.
    """
    image = ensure_image(name, progress)
    layer, _ = layers(name)
    if not layer.is_dir():
        if os.geteuid() != 0:
            raise LabError(f"The {name} guest is not built yet, and only root can build it. Run this as root once.")
        progress(f"{name}: making a guest of the image")
        scratch = layer.with_name(f".{layer.name}.{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        parts = [scratch / part for part in ("layer", "work", "root")]
        for part in parts:
            part.mkdir(parents=True)
        try:
            _build(name, image, *parts)
            try:
                parts[0].rename(layer)
            except OSError:
                if not layer.is_dir():  # else another run was as quick, and has made the same
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return layer, image


def _build(name: str, image: Path, layer: Path, work: Path, root: Path) -> None:
    try:
        result = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", BUILD, "sh"),
                *map(str, (image, layer, work, root, SOURCES, name)),
            ],
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
            env={"PATH": search_path(), "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"The guest could not be made: it took longer than {BUILD_TIMEOUT_S:g} s.") from error
    if result.returncode != 0:
        raise LabError(f"The guest could not be made:\n{result.stdout}{result.stderr}".rstrip())


# Which image stands nearest to a release; the lab's machines are made from these.
IMAGE_OF_RELEASE = {"3.0-r3": "bullseye"}
DEFAULT_IMAGE = "bookworm"


def image_of(config: Mapping[str, Any]) -> str:
    """The image that stands for the release of a stack file's ``config`` section."""
    image = config.get(stackfile.IMAGE)
    release = image.get("release") if isinstance(image, dict) else None
    return IMAGE_OF_RELEASE.get(str(release), DEFAULT_IMAGE)
