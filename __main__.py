"""The Pulumi program: read the stack's configuration, build the pair, export its outputs."""

import gc

import pulumi

gc.disable()  # imports make objects that stay: looking for garbage among them is a tenth of a preview

from lbstack.deploy.program import deploy
from lbstack.deploy.sdk import quiet, vsphere
from lbstack.deploy.settings import read_settings
from lbstack.problems import LbstackError
from lbstack.vcenter.pin import require_vcenter

quiet()
try:
    settings = read_settings()
    login = settings.login
    require_vcenter(login.server, settings.stack.placement.vcenter_uuid, verify=login.verify)
except LbstackError as error:
    raise pulumi.RunError(str(error)) from error
vcenter = vsphere.Provider(
    "vcenter",
    vsphere_server=login.server,
    user=login.user,
    password=pulumi.Output.secret(login.password),
    allow_unverified_ssl=not login.verify,
)
for name, value in deploy(settings, vcenter).items():
    pulumi.export(name, value)
gc.freeze()  # nor is it looked for among them at the end
gc.enable()
