"""The load-balancer pair for VMware Horizon and App Volumes as code.

Data flows one way: ``config`` (what the user writes) → ``render`` (files, then guestinfo) → ``deploy`` (VMs on
vSphere). Everything before ``deploy`` is plain Python without Pulumi and without side effects.
"""

import os

# Plugins of pydantic that happen to be installed would see every stack file, and could change what one means.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
