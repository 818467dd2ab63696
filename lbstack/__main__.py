"""``python -m lbstack`` is the command ``lbstack``."""

from __future__ import annotations

import sys

from lbstack.cli import main

if __name__ == "__main__":
    sys.exit(main())
