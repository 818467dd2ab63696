"""The role that the lab's stack logs in with: the one that README tells people to make, and no other.

README is the only place where the privileges are listed, so a step there that forgets one fails here.
"""

from __future__ import annotations

import re

from lab.errors import LabError
from lab.system.cache import CHECKOUT

README = CHECKOUT / "README.md"
COMMAND = re.compile(r"^govc role\.create lbstack \\\n(?P<privileges>(?:.*\\\n)*.*)$", re.MULTILINE)


def privileges() -> list[str]:
    """What the role may do, in vCenter's names.

    Raises:
        LabError: README does not list them where it is expected to.
    """
    found = COMMAND.search(README.read_text(encoding="utf-8"))
    if found is None:
        raise LabError(f"{README} has no `govc role.create lbstack` command; restore it from the repository.")
    return found["privileges"].replace("\\\n", " ").split()
