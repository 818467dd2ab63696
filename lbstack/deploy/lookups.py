"""Look things up with the provider that the SOAP API does not know: content libraries and tags."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pulumi

from lbstack.deploy.sdk import vsphere
from lbstack.problems import Problem
from lbstack.vcenter.inventory import NotListed, listing, names
from lbstack.vcenter.login import Login

OVF_ITEM = "ovf"  # the type that a content library gives to an imported OVA or OVF


class LookUps:
    """Asks the provider, and collects what is wrong.

    Args:
        provider: The explicit provider of this stack's vCenter.
        login: The same vCenter, for listing what there is when something is missing.
    """

    def __init__(self, provider: vsphere.Provider, login: Login) -> None:
        self.options = pulumi.InvokeOptions(provider=provider)
        self.login = login
        self.problems: list[Problem] = []

    async def find(
        self, path: str, kind: str, function: str, arguments: Mapping[str, str], parent: str = ""
    ) -> Mapping[str, Any] | None:
        """One look-up; None and a problem when it fails.

        Args:
            path: Where the name was configured.
            kind: What it is, in words (``inventory.names``).
            function: The provider's function.
            arguments: Its arguments.
            parent: The name of the library or the category that it is in.
        """
        token = f"vsphere:index/{function}:{function}"
        try:
            found: Mapping[str, Any] = await pulumi.runtime.invoke_async(token, dict(arguments), self.options)
        except Exception as error:  # noqa: BLE001 - the engine raises a bare Exception with the provider's message
            self.problems.append(
                await asyncio.to_thread(self._explain, path, kind, arguments["name"], parent, str(error))
            )
            return None
        return found

    def _explain(self, path: str, kind: str, name: str, parent: str, message: str) -> Problem:
        """A message with what was looked for and what exists."""
        where = f" in {'category' if kind == 'tag' else 'library'} {parent!r}" if parent else ""
        reason = message.split("failed:", 1)[-1].strip()
        try:
            found = names(self.login, kind, parent)
        except NotListed as error:
            return Problem(
                path,
                f"{kind} {name!r} was not found{where} ({reason})",
                f"What there is could not be listed ({error}); check the name and what {self.login.user} may see.",
            )
        same = [entry for entry in found if entry in (name, f"{name} ({OVF_ITEM})")]
        if len(same) > 1:
            return Problem(
                path, f"{kind} {name!r} is ambiguous: {len(same)} have this name{where}", "Rename all but one."
            )
        if same:
            return Problem(
                path,
                f"{kind} {name!r} is there, but could not be read ({reason})",
                f"Check the permissions of {self.login.user} on it.",
            )
        return Problem(path, f"there is no {kind} {name!r}{where}", listing(found))
