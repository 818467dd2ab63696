"""Give lines to a daemon's parser and watch the canaries. It runs inside a sandbox, with the guest's own Python.

watching.py KIND   reads JSON from standard input, a list of [context, text, environment], where text is one line, or
                   with "whole " before the kind a whole file; prints one JSON list for each: [exit code, output,
                   names of canaries that were opened or made]
"""
# ruff: noqa: ANN001, ANN201, PTH101, PTH103, PTH123, T201 - it runs on the old Python of a guest
# mypy: ignore-errors

import ctypes
import json
import os
import struct
import subprocess
import sys

CANARY = "/canary"
OPENED, MADE = 0x20, 0x100  # IN_OPEN, IN_CREATE
BASE = {
    "haproxy": "global\n    maxconn 10\ndefaults\n    mode http\n    timeout client 1s\n    timeout server 1s\n"
    "    timeout connect 1s\n",
}
COMMAND = {
    "haproxy": ["haproxy", "-c", "-f"],
    "whole haproxy": ["haproxy", "-c", "-dW", "-f"],
    "keepalived": ["keepalived", "-t", "-f"],
    "whole keepalived": ["keepalived", "-t", "-f"],
}


def opened(handle):
    """The names of the canaries that were opened or made since the last look."""
    try:
        data = os.read(handle, 1 << 16)
    except BlockingIOError:
        return []
    names = set()
    while data:
        length = struct.unpack_from("iIII", data)[3]
        names.add(data[16 : 16 + length].split(b"\0")[0].decode() or ".")
        data = data[16 + length :]
    return sorted(names - {"."})


def main(kind):
    os.makedirs(CANARY, exist_ok=True)
    with open(CANARY + "/file", "w") as file:
        file.write("xyzzy\n")
    with open(CANARY + "/run", "w") as file:
        file.write("#!/bin/sh\necho ran >/canary/ran\n")
    os.chmod(CANARY + "/run", 0o755)
    os.chdir(CANARY)
    libc = ctypes.CDLL(None)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(handle, CANARY.encode(), OPENED | MADE)
    for context, text, environment in json.load(sys.stdin):
        blocks = [line for line in context if line.endswith("{")]
        document = BASE.get(kind, "") + "\n".join([*context, text, *("}" for _ in blocks), ""])
        with open("/tmp/lines", "w") as file:
            file.write(document)
        run = subprocess.run(
            [*COMMAND[kind], "/tmp/lines"],
            env=dict(os.environ, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=30,
        )
        print(json.dumps([run.returncode, run.stdout.decode("utf-8", "replace"), opened(handle)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
