"""The load-balancer pair for VMware Horizon and App Volumes as code.

The data goes one way: ``config`` (what the user says) → ``render`` (files) → ``userdata`` (guestinfo) →
``pair`` (VMs on vSphere). Everything left of ``pair`` is plain Python without Pulumi and without side effects.
"""
