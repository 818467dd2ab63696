"""Start a guest's supervisor so that no program in it sets itself a limit of real time that it cannot lift again.

keepalived limits its VRRP process to some real time without a pause. When it reloads, it sets that limit to 0 and then
to what its file has (2.1 and 2.2, ``reset_process_priorities``). A VM's root may raise a limit. On a machine that is
itself a container without CAP_SYS_RESOURCE no guest may: the limit stays 0, and the kernel kills the process the next
time that it is busy for one tick, seconds or minutes after the reload. So there the guest's calls to set this one limit
succeed and do nothing. Run as a program, it executes its arguments under that rule; it needs Python's library alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence

RLIMIT_RTTIME = 15  # asm-generic/resource.h
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
ALLOW, SUCCEED = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with 0: the call is left out
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K
NUMBER, ARCHITECTURE, ARGUMENTS, WORD = 0, 4, 16, 8  # linux/seccomp.h: struct seccomp_data
# AUDIT_ARCH_* of linux/audit.h, and the numbers of prlimit64 and setrlimit there.
MACHINES = {"x86_64": (0xC000003E, 302, 160), "aarch64": (0xC00000B7, 261, 164)}

Instruction = tuple[int, int, int, int]


def rule(architecture: int, prlimit: int, setrlimit: int) -> list[Instruction]:
    """The filter: code, jump where true, jump where false, operand; jumps count from the next instruction."""
    second, third = ARGUMENTS + WORD, ARGUMENTS + 2 * WORD
    return [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 0, 10, architecture),
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 0, 4, prlimit),
        # This call's arguments are pid, resource, new, old; it only asks where there is no new limit.
        (LOAD, 0, 0, third),
        (JUMP_IF_EQUAL, 6, 0, 0),  # the lower half of a pointer that is one is never 0: it would begin a 4 GiB block
        (LOAD, 0, 0, second),
        (JUMP_IF_EQUAL, 3, 4, RLIMIT_RTTIME),
        # This one's are resource and new.
        (JUMP_IF_EQUAL, 0, 3, setrlimit),
        (LOAD, 0, 0, ARGUMENTS),
        (JUMP_IF_EQUAL, 0, 1, RLIMIT_RTTIME),
        (RETURN, 0, 0, SUCCEED),
        (RETURN, 0, 0, ALLOW),
    ]


def install(instructions: Sequence[Instruction]) -> None:
    """Put this process, and all that come from it, under a filter.

    Raises:
        OSError: The kernel refuses.
    """
    code = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(text))
    library = ctypes.CDLL(None, use_errno=True)
    arguments = (
        PR_SET_SECCOMP,
        ctypes.c_ulong(SECCOMP_MODE_FILTER),
        ctypes.create_string_buffer(program, len(program)),
    )
    if library.prctl(*arguments, ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main(command: Sequence[str]) -> None:
    """Execute a command under the rule, or without it on a machine that has no such rule yet."""
    if known := MACHINES.get(platform.machine()):
        install(rule(*known))
    os.execvp(command[0], list(command))  # noqa: S606 - the lab's own command, no shell wanted


if __name__ == "__main__":
    main(sys.argv[1:])
