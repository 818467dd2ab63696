"""The Pulumi program as a function: a repository's ``__main__.py`` imports ``run`` and calls it.

Four start-up measures make a preview shorter. `python -m bench --only startup` measures each alone, in pairs without
and with it. The figures are the median ratios of elapsed time in two such runs (24 and 20 pairs, 2 cores). A measure
that gains less than 3 % is removed.

    no garbage collection during the program (here)                1.11  1.12
    no debug messages of the SDK (``sdk.quiet``)                    0.99  1.08   CPU time 1.02  1.05
    SDK modules imported when used (``sdk.lazily``)                 1.03  1.05
    the VM's class imported while the plugin starts (``pair.py``)   1.02  1.04
"""

from __future__ import annotations

import gc

gc.disable()

import pulumi  # noqa: E402 - after the collector is off

from lbstack.deploy.program import deploy  # noqa: E402
from lbstack.deploy.sdk import quiet, vsphere  # noqa: E402
from lbstack.deploy.settings import Settings, read_settings  # noqa: E402
from lbstack.problems import LbstackError  # noqa: E402
from lbstack.vcenter.pin import require_vcenter  # noqa: E402


def run() -> None:
    """Read the stack's configuration, build the pair, export its outputs.

    Raises:
        pulumi.RunError: The configuration is wrong, or the vCenter is not the pinned one; with every problem.
    """
    quiet()
    try:
        settings = read_settings()
        login = settings.login
        require_vcenter(login.server, settings.stack.placement.vcenter_uuid, verify=login.verify)
    except LbstackError as error:
        raise pulumi.RunError(str(error)) from error
    for name, value in deploy(settings, _provider(settings)).items():
        pulumi.export(name, value)
    gc.freeze()  # nor is there a search at the end of the program
    gc.enable()


def _provider(settings: Settings) -> vsphere.Provider:
    """The explicit provider of the stack's vCenter; its name is identity in the state."""
    login = settings.login
    return vsphere.Provider(
        "vcenter",
        vsphere_server=login.server,
        user=login.user,
        password=pulumi.Output.secret(login.password),
        allow_unverified_ssl=not login.verify,
    )
