"""Build root file systems of the Debian releases nearest to Photon's, and keep them in the cache.

They hold the real daemons: the native tests check rendered files with them, and guests boot from them. An image is a
directory and is never changed; a user of it mounts an overlay over it. A build happens in a directory next to it, which
is renamed when it is complete, so a killed build leaves nothing that looks like an image.

    python -m lab.guests.image [NAME...]       build what is missing and print the paths
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from lab.errors import LabError
from lab.system.cache import cache_directory
from lab.system.debian import search_path
from lbstack.problems import LbstackError

Progress = Callable[[str], None]

FREE_MIB = 1536  # an image takes 350 MiB, and as much again for the packages while it is built
LAST_LINES = 15  # of a failed build's messages: apt prints the reason last
TOOLS = ("mmdebstrap", "unshare", "setpriv")
EXIT_CODE_TROUBLE = 2

PACKAGES = (
    "ca-certificates",
    "cloud-init",
    "conntrack",
    "dbus",
    "haproxy",
    "iproute2",
    "iptables",
    "keepalived",
    "kmod",
    "libfaketime",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
"""What a node has on it or needs to boot, the checkers of what is rendered for it, and a clock for other days."""


@dataclass(frozen=True)
class Recipe:
    """How an image is made; its digest names the image in the cache.

    Args:
        suite: The Debian release.
        merge: Options of mmdebstrap that give the image one /usr, as Photon has it.
        packages: What is installed on top of the essential packages, without recommendations.
        edition: Raised by hand when the same recipe has to be built anew.
    """

    suite: str
    merge: tuple[str, ...]
    packages: tuple[str, ...] = PACKAGES
    edition: int = 1

    @property
    def key(self) -> str:
        """The recipe's digest, twelve hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


# mmdebstrap's own hook needs a package that bullseye has not.
_MERGE_BY_HAND = (
    "--setup-hook=for dir in bin sbin lib lib32 lib64 libx32; do "
    'mkdir -p "$1/usr/$dir"; ln -s "usr/$dir" "$1/$dir"; done'
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # HAProxy 2.6 and keepalived 2.2.7 as in Photon 4.0, cloud-init 22.4 as in 3.0.
        "bookworm": Recipe("bookworm", ("--hook-directory=/usr/share/mmdebstrap/hooks/merged-usr",)),
        # HAProxy 2.2, keepalived 2.1.5 and cloud-init 20.4: the nearest to Photon 3.0 that is packaged.
        "bullseye": Recipe("bullseye", (_MERGE_BY_HAND,)),
    }
)
"""Every image by its name."""


def path_of(name: str) -> Path:
    """Return where an image is, or would be."""
    return cache_directory() / f"native-{name}-{RECIPES[name].key}"


def ensure_image(name: str, progress: Progress) -> Path:
    """Return an image's directory; build it first where it is missing.

    Args:
        name: A key of ``RECIPES``.
        progress: Receives a line now and then while it builds (half a minute to several, by the network).

    Raises:
        LabError: It is not there and cannot be built on this machine; the message names the reason and the remedy.
    """
    target = path_of(name)
    if target.is_dir():
        return target
    _check_machine(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target, progress) as lock:
        if not target.is_dir():
            _check_disk(target.parent)
            _build(RECIPES[name], target, lock, progress)
    return target


def _check_machine(name: str) -> None:
    if os.geteuid() != 0:
        raise LabError(f"The {name} image is not built yet, and only root can build it. Run this as root once.")
    missing = [tool for tool in TOOLS if shutil.which(tool, path=search_path()) is None]
    if missing:
        raise LabError(
            f"The {name} image cannot be built: {', '.join(missing)} not found. On Debian: "
            "`apt-get install mmdebstrap util-linux`."
        )


def _check_disk(directory: Path) -> None:
    free = shutil.disk_usage(directory).free >> 20
    if free < FREE_MIB:
        raise LabError(
            f"{directory} has {free} MiB free, building an image needs {FREE_MIB} MiB. Make room, or set "
            "XDG_CACHE_HOME to a directory with more."
        )


@contextmanager
def _alone(target: Path, progress: Progress) -> Iterator[int]:
    """Build an image alone; a second run waits for the first. The kernel lets go when the last holder ends."""
    lock = os.open(target.with_name(f"{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{target.name}: another run is building it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _build(recipe: Recipe, target: Path, lock: int, progress: Progress) -> None:
    scratch = target.with_name(f".{target.name}.building")
    _remove(scratch)
    mirror = _mirror()
    command = [
        # Should this process be killed, the whole build goes with it; and its mounts are in a namespace of their
        # own, so that a scratch directory never has the host's devices below it when it is removed.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(recipe.packages)}"),
        *recipe.merge,
        *(recipe.suite, str(scratch), *mirror),
    ]
    progress(f"{recipe.suite}: building a guest image with {', '.join(recipe.packages)}")
    environment = os.environ | {"PATH": search_path(), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        _run(command, environment, lock, lambda line: progress(f"{recipe.suite}: {line}"))
        scratch.rename(target)
    except BaseException:
        _remove(scratch)
        raise
    progress(f"{recipe.suite}: ready in {target}")


def _run(command: list[str], environment: dict[str, str], lock: int, progress: Progress) -> None:
    """Run the build; the lock stays with it as long as it lives, whatever happens to this process."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        pass_fds=(lock,),
    ) as build:
        try:
            for line in build.stdout or ():
                lines.append(line.rstrip())
                if line.startswith("I: "):
                    progress(line[3:].rstrip())
        except BaseException:
            build.kill()
            raise
    if build.returncode != 0:
        reported = "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
        raise LabError(
            f"mmdebstrap ended with exit code {build.returncode}; its last lines:\n{reported}\n"
            "  Is Debian's package archive reachable from here (`apt-get update` uses the same one)?"
        )


def _mirror() -> list[str]:
    """The archive that this machine's own apt uses, where it is a Debian one; else mmdebstrap's default."""
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": search_path()},
    )
    found = [line for line in answer.stdout.split() if line.rstrip("/").endswith("/debian")]
    return found[:1]


def _remove(directory: Path) -> None:
    """Remove what a build left behind, but never anything that is mounted below it."""
    if not directory.exists():
        return
    points = [mount.mountpoint for mount in psutil.disk_partitions(all=True)]
    below = [point for point in points if point.startswith(f"{directory}/")]
    if below:
        raise LabError(f"{below[0]} is mounted inside a half-built image. Unmount it and run this again.")
    shutil.rmtree(directory)


def main(names: list[str]) -> int:
    """Build the named images, all of them by default; return the exit code."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        print(f"no such image: {', '.join(unknown)}; there are: {', '.join(RECIPES)}", file=sys.stderr)
        return EXIT_CODE_TROUBLE
    try:
        for name in names or RECIPES:
            print(ensure_image(name, lambda line: print(line, file=sys.stderr, flush=True)))
    except LbstackError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE_TROUBLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
