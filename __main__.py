"""The Pulumi program: read the stack's configuration, build the pair, export its outputs."""

import pulumi
import pulumi_vsphere as vsphere

from lbstack.guard import require_vcenter
from lbstack.pair import LoadBalancerPair, PairArgs
from lbstack.placement import find_place
from lbstack.problems import LbstackError
from lbstack.redact import redact_pair
from lbstack.render import render_pair
from lbstack.settings import read_settings
from lbstack.userdata import guestinfo

try:
    settings = read_settings()
    stack, login = settings.stack, settings.login
    require_vcenter(login.server, stack.placement.vcenter_uuid, verify=login.verify)
    rendered = render_pair(stack, settings.secrets)
    userdata = {node: guestinfo(stack, rendered, node, settings.secrets) for node in rendered.nodes}
except LbstackError as error:
    raise pulumi.RunError(str(error)) from error
vcenter = vsphere.Provider(
    "vcenter",
    vsphere_server=login.server,
    user=login.user,
    password=pulumi.Output.secret(login.password),
    allow_unverified_ssl=not login.verify,
)
args = PairArgs(
    config=stack,
    place=find_place(vcenter, login, stack.placement, stack.image),
    guestinfo=userdata,
    files=redact_pair(rendered),
    config_hash=rendered.config_hash,
)
pair = LoadBalancerPair("pair", args, pulumi.ResourceOptions(providers=[vcenter]))
for name, value in pair.exports.items():
    pulumi.export(name, value)
