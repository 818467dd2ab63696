"""The steps of `up` and `down`. Each step can be repeated, so the next run completes a killed one.

When the memory of the simulated vCenter is gone (a reboot, a kill), nothing of the deployment exists any more. Then
Pulumi's record of it is dropped, and `up` reports it. For a vCenter that has lost single VMs a refresh would be right,
but the provider treats a missing folder as an error (`cannot locate folder`), so a refresh of everything never
succeeds.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.engine.checkpoint import Checkpoint
from lab.engine.workspace import Workspace
from lab.errors import RUN, LabError
from lab.home import limits, stackfile, state
from lab.home.credentials import credentials_of
from lab.home.state import Paths, Record
from lab.network.network import MANAGEMENT, Network, lab_id
from lab.running import surroundings
from lab.system.cache import CHECKOUT
from lab.toolchain import tools as toolchain
from lab.vcenter import library, server

Progress = Callable[[str], None]
SERVING_S = 180.0  # both nodes boot at once and serve after half a minute; a busy machine needs longer


def up(
    paths: Paths,
    *,
    port: int | None,
    progress: Progress,
    show: Progress,
    program: Path = CHECKOUT,
    deploy: bool = True,
    guests: bool = True,
) -> None:
    """Bring a lab up, or up to date.

    Args:
        paths: The lab.
        port: The vCenter's port, or None for any.
        progress: Receives the lab's own lines.
        show: Receives Pulumi's lines.
        program: The directory of the Pulumi program.
        deploy: Whether the stack is deployed; False leaves an empty one.
        guests: Whether guests boot behind the VMs, where this machine can do that; False is for callers that are
            interested in the deployment alone.

    Raises:
        LabError: A step failed; the message names it and the remedy.
    """
    with readable_errors(paths), state.exclusive(paths, "up"):
        record = state.prepare(paths)
        tools = toolchain.ensure_tools(progress)
        source = stackfile.read(stackfile.SOURCE)["config"]
        credentials_of(paths).ensure(stackfile.stats_users(source))
        toolchain.install_plugin(tools, paths.pulumi_home, progress)
        Workspace(paths, tools, program).unlock(progress)
        _restore_record(paths, progress)
        record.guests = guests and _guests_can_boot(paths, source, progress)
        workspace = workspace_of(paths, tools, record, program)
        if unfinished := workspace.checkpoint.unfinished():
            progress(
                f"The last run was ended while it made {', '.join(unfinished)}; nobody knows how much of that exists. "
                "The simulated vCenter starts again, empty."
            )
            server.stop(paths)
        vcenter = server.ensure(paths, record, tools, stackfile.vcenter_uuid(source), port=port, progress=progress)
        progress(f"vCenter serves at https://{vcenter.server}/sdk")
        state.write_record(paths, record)
        workspace.ensure(record)
        state.write_record(paths, record)
        config = stackfile.read(paths.stack_file)["config"]
        library.ensure(workspace, record, *stackfile.image(config), progress)
        if record.guests:
            surroundings.start(paths, vcenter, progress)
        else:
            surroundings.stop(paths, progress)
        if deploy:
            _deploy(workspace, record, vcenter, progress=progress, show=show)


def _restore_record(paths: Paths, progress: Progress) -> None:
    """Put the engine's own backup in the place of a record that it cannot read.

    Raises:
        LabError: The backup cannot be read either.
    """
    checkpoint = Checkpoint(paths)
    if checkpoint.readable():
        return
    if not checkpoint.restorable():
        raise LabError(
            f"Pulumi's record of the stack is empty or cut ({checkpoint.file}), and there is no backup that could be "
            f"read ({checkpoint.backup}). `make lab-down` throws the lab away all the same; `make lab` makes it anew."
        )
    progress(
        "Pulumi's record of the stack is empty or cut; its backup, one step older, takes its place. Nobody knows what "
        "that step made. The simulated vCenter starts again, empty."
    )
    # First, so that a run that is killed here is done again: a backup alone would pass for the whole truth.
    server.stop(paths)
    checkpoint.restore()


def workspace_of(paths: Paths, tools: toolchain.Tools, record: Record, program: Path = CHECKOUT) -> Workspace:
    """How Pulumi is run in a lab: on the management station where there is one, since the gate asks the nodes.

    Args:
        paths: The lab.
        tools: The programs.
        record: The lab's memory.
        program: The directory of the Pulumi program.
    """
    station = tuple(Network(lab_id(paths.root), None).command(MANAGEMENT, [])) if record.guests else ()
    return Workspace(paths, tools, program, station)


def _guests_can_boot(paths: Paths, config: dict[str, object], progress: Progress) -> bool:
    if paths.stack_file.exists():  # the lab's own copy chooses the image, once there is one
        config = stackfile.read(paths.stack_file)["config"]
    missing = surroundings.shortcomings(paths.root, config, progress)
    if missing:
        progress("No guests boot here, so the pair is deployed and nothing is rehearsed. What is missing:")
        for line in "\n".join(missing).splitlines():
            progress(f"  {line}")
    elif limits.open_files() < limits.OPEN_FILES:
        progress(
            f"A guest's programs may open {limits.open_files()} files here, so the lab's pair takes fewer connections "
            "(haproxy.maxconn in its stack file)"
        )
    return not missing


def _deploy(
    workspace: Workspace, record: Record, vcenter: server.VCenter, *, progress: Progress, show: Progress
) -> None:
    recorded = workspace.checkpoint.resources() or workspace.checkpoint.unfinished()
    if recorded and record.deployed_on != vcenter.process.identity:
        progress(
            "This vCenter was started after the last deployment, and its inventory lives in memory: nothing of that "
            "deployment exists any more. Its record is dropped and everything is made anew."
        )
        workspace.forget()
    record.deployed_on = vcenter.process.identity
    # Before Pulumi runs: what a killed deployment leaves is in this vCenter.
    state.write_record(workspace.paths, record)
    progress("Deploying with Pulumi")
    arguments = ["up", "--yes", "--skip-preview", "--suppress-outputs"]
    if workspace.checkpoint.half_changed():
        # The last run was killed while it changed or deleted something: Pulumi looks how far that went. It asks with
        # the address that the program has now; the one that the state remembers may be another port.
        arguments += ["--refresh", "--run-program"]
    _pulumi(workspace, arguments, show)


def _pulumi(workspace: Workspace, arguments: list[str], show: Progress) -> None:
    code = workspace.run(arguments, show)
    if code != 0:
        raise LabError(
            f"`pulumi {arguments[0]}` failed (exit code {code}); its output is above and in {workspace.log}.\n"
            "Once the cause is gone, `make lab` goes on from here."
        )


def down(paths: Paths, *, progress: Progress, show: Progress, program: Path = CHECKOUT) -> bool:
    """Take a lab down: destroy the stack, stop the vCenter, remove the lab's directory.

    Args:
        paths: The lab.
        progress: Receives the lab's own lines.
        show: Receives Pulumi's lines.
        program: The directory of the Pulumi program.

    Returns:
        Whether Pulumi destroyed everything itself. Otherwise it was thrown away together with the vCenter.

    Raises:
        LabError: The directory is not a lab's, or another run works on it.
    """
    if not paths.root.exists():
        progress(f"There is no lab at {paths.root}")
        return True
    with readable_errors(paths), state.exclusive(paths, "down"):
        record = state.read_record(paths)
        clean = record is None or _destroy(paths, record, program, progress, show)
        surroundings.stop(paths, progress)
        if server.stop(paths):
            progress("The simulated vCenter is stopped")
        state.remove(paths)
        progress(f"{paths.root} is removed")
    return clean


def _destroy(paths: Paths, record: Record, program: Path, progress: Progress, show: Progress) -> bool:
    """Destroy the stack where there is something to destroy and something to destroy it with."""
    tools = _tools_at_hand(progress)
    if tools is None:
        progress("Pulumi is not built here (any more); what was deployed goes with the simulated vCenter")
        return True
    workspace = workspace_of(paths, tools, record, program)
    if paths.stack_file.exists():
        workspace.unlock(progress)
    if unknown := _unknown(workspace.checkpoint):
        progress(f"{unknown}; what there is goes with the simulated vCenter")
        return True
    if not workspace.checkpoint.resources() or not paths.stack_file.exists():
        return True
    vcenter = server.running(paths)
    if vcenter is None or vcenter.process.identity != record.deployed_on:
        progress("The vCenter that the stack was deployed to does not run any more, and its inventory went with it")
        return True
    if record.guests and not Network(lab_id(paths.root), None).exists():
        workspace = Workspace(paths, tools, program)  # a reboot took the management station; vCenter is on this machine
    progress("Destroying the stack with Pulumi")
    if workspace.run(["destroy", "--yes", "--skip-preview", "--suppress-outputs"], show) == 0:
        return True
    progress("`pulumi destroy` failed, see above; everything is thrown away together with the simulated vCenter")
    return False


def _unknown(checkpoint: Checkpoint) -> str:
    """Why `pulumi destroy` would not know of everything that there is; empty where it does."""
    if not checkpoint.readable():
        return "Pulumi's record of the stack is empty or cut"
    # It stumbles over a folder that is not empty.
    return f"A run was ended while it made {', '.join(making)}" if (making := checkpoint.unfinished()) else ""


def _tools_at_hand(progress: Progress) -> toolchain.Tools | None:
    """The tools without building any; None where some would have to be."""
    if any(tool.state == toolchain.TO_BUILD for tool in toolchain.describe_tools()):
        return None
    return toolchain.ensure_tools(progress)


@contextmanager
def readable_errors(paths: Paths) -> Iterator[None]:
    """Turn the operating system's refusals into words.

    Raises:
        LabError: The disk is full, a right is missing, or a process does not end.
    """
    try:
        yield
    except TimeoutError as error:
        raise LabError(f"{error}. Look at it with `ps`, then run this again.") from error
    except OSError as error:
        where = error.filename or paths.root
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(
                f"The disk is full: {where} could not be written. Make room (`df -h {paths.root}`) and run this again; "
                "it goes on from here."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise LabError(
                f"{where}: {error.strerror}. A lab that root made belongs to root; choose a directory of your own with "
                "--state, or run as that user."
            ) from error
        raise LabError(f"{where}: {error.strerror or error}. `{RUN} doctor` looks at this machine.") from error
