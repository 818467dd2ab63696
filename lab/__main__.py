"""``python -m lab``."""

import sys

try:
    from lab.commands.app import main
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "lab":
        raise
    print(
        f"{error.name} is not installed in this Python. `make lab` installs everything and runs this.", file=sys.stderr
    )
    sys.exit(2)

main()
