"""Pack a node's files into the guestinfo keys of its VM.

The cloud-config is built as data and written as JSON, which is also YAML. cloud-init reads it at the first boot, and
the applier reads the same document with the standard library at every later boot. cloud-init overwrites no live file:
it writes to a staging directory, where the applier reads.

The set is in keys of its own (``parts.py``), and userdata has one of two forms beside them (``cloudconfig.py``).

The result is deterministic: RSA PKCS#1 v1.5 signatures and ``deflate.py`` give the same bytes on every machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.problems import ConfigError
from lbstack.render import fitting, keys, signed
from lbstack.render.cloudconfig import Form, blocks_of, cloud_config, metadata, write_files
from lbstack.render.files import File, RenderedPair
from lbstack.render.parts import Part, parts_of
from lbstack.render.paths import APPLIER
from lbstack.render.rsakey import load_key, public_pem


@dataclass(frozen=True)
class Packed:
    """The guestinfo of one node's VM, in both forms; each is made when it is asked for.

    Args:
        config: The validated configuration.
        pair: Its rendered files.
        node_name: Which node.
        secrets: The stack's secrets.
    """

    config: StackConfig
    pair: RenderedPair
    node_name: str
    secrets: Secrets

    @property
    def files(self) -> Mapping[str, File]:
        """The node's files."""
        return self.pair.nodes[self.node_name]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The set in parts."""
        return parts_of(self.pair, self.node_name)

    @cached_property
    def manifest(self) -> str:
        """The signed text; the same in both forms."""
        return signed.manifest(self.pair.config_hash, self.node_name, self.files, self.parts)

    @cached_property
    def signature(self) -> str:
        """Its signature."""
        return signed.sign(self.manifest, load_key(self.secrets.signing_key))

    @cached_property
    def common(self) -> dict[str, str]:
        """The keys beside userdata: metadata, and the set in parts.

        Raises:
            ConfigError: The set does not fit into the VM's configuration file.
        """
        node = next(node for node in self.config.nodes if node.name == self.node_name)
        about = json.dumps(metadata(self.config, node), indent=1, ensure_ascii=True) + "\n"
        values = {
            keys.METADATA: base64.b64encode(about.encode()).decode(),
            f"{keys.METADATA}{keys.ENCODING}": "base64",
            keys.HASH: self.pair.config_hash,
            keys.HEAD: base64.b64encode(self.manifest.encode()).decode(),
            keys.SIGNATURE: self.signature.strip(),
        }
        for part in self.parts:
            values |= part.values
        # Userdata has either form; the larger one may take all that one value may have.
        size = fitting.size_of(values) + keys.VALUE_LIMIT
        if size > keys.VMX_LIMIT - keys.VMX_OWN:
            raise fitting.too_large_in_all(self.node_name, size, self.files)
        return values

    def blocks(self, form: Form) -> tuple[bytes, ...]:
        """Return the text of userdata, in the blocks in which it is compressed."""
        public = public_pem(self.secrets.signing_key)
        files = write_files(self.pair, self.node_name, form, public, (self.manifest, self.signature))
        document = cloud_config(self.config, self.secrets, form, files)
        return tuple(blocks_of(document, json.dumps(self.files[APPLIER].content)))

    def userdata(self, form: Form) -> dict[str, str]:
        """Return userdata with its encoding.

        Raises:
            ConfigError: It does not fit into one guestinfo value; of ``Form.PARTS`` only with very many SSH keys.
        """
        value, encoding = fitting.encode(self.node_name, self.blocks(form), self.files)
        return {keys.USERDATA: value, f"{keys.USERDATA}{keys.ENCODING}": encoding}

    def values(self, form: Form) -> dict[str, str]:
        """Return all guestinfo keys and values.

        Raises:
            ConfigError: The set does not fit.
        """
        return self.common | self.userdata(form)

    @cached_property
    def staged(self) -> dict[str, str] | None:
        """All keys in the form with the whole set in userdata; None where it does not fit into one value."""
        try:
            return self.values(Form.STAGED)
        except ConfigError:
            return None

    @cached_property
    def in_parts(self) -> dict[str, str]:
        """All keys in the form with the set in keys of its own."""
        return self.values(Form.PARTS)


def pack(config: StackConfig, pair: RenderedPair, node_name: str, secrets: Secrets) -> Packed:
    """Return a node's guestinfo in both forms.

    Args:
        config: The validated configuration.
        pair: Its rendered files.
        node_name: Which node.
        secrets: The stack's secrets.
    """
    return Packed(config, pair, node_name, secrets)


def guestinfo(
    config: StackConfig, pair: RenderedPair, node_name: str, secrets: Secrets, form: Form = Form.STAGED
) -> dict[str, str]:
    """Return the guestinfo keys and values of one node's VM.

    Args:
        config: The validated configuration.
        pair: Its rendered files.
        node_name: Which node.
        secrets: The stack's secrets.
        form: What userdata carries.

    Raises:
        ConfigError: The node's set does not fit.
    """
    return pack(config, pair, node_name, secrets).values(form)
