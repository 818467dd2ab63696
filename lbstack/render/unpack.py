"""Unpack guestinfo into a node's files, in a form that a report may show.

This is the inverse of ``pack.py``: encoded values → files at their guest paths, from the set's own keys and from
userdata; a set of an earlier release is in userdata alone. Secrets are replaced before anything
leaves this module. The hash of a password becomes a short digest, keyed with a secret of the stack: a change of the
hash is visible, but a guess cannot be tested. A value that cannot be decoded is described, never shown. Anything in
guestinfo that is not of the set may be a plain password, so only a digest of it is shown (``only_known``).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbstack.render import keys
from lbstack.render.joined import joined
from lbstack.render.paths import APPLIER, BOOTSTRAP, MANIFEST, NODE_JSON, PUBLIC_KEY, ROOT, SET_FILES, SIGNATURE
from lbstack.render.redact import Redactor

Files = dict[str, str]
Rights = dict[str, str]

USERDATA, METADATA, ENCODING = keys.USERDATA, keys.METADATA, keys.ENCODING
REST = "(cloud-config beside the files)"  # also in the data of a report, so it stays
UNREADABLE = "(guestinfo.userdata)"
SET_HASH = "<hash of the set>"
MAX_OPENED = 4 << 20  # bytes; a set has some 100 kB, so more is a decompression bomb
GZIP_WINDOW = 31  # zlib's code for gzip's header and the largest window
WORD = re.compile(r"\w")  # a line without a word character has only brackets


@dataclass(frozen=True)
class Opened:
    """One VM's guestinfo in a form that a report may show.

    Args:
        files: Path → content, redacted and without the set's own hash; parts of guestinfo that are not files of the
            node have a name in brackets.
        config_hash: The set's hash; empty where there is none.
        public_key: The public key for the set's signature; empty where there is none.
        rights: Path → owner and mode, such as ``root:root 0644``, of every file for which they are known.
        loose: The paths in ``files`` that do not belong to the set: everything else in guestinfo.
    """

    files: Mapping[str, str]
    config_hash: str = ""
    public_key: str = ""
    rights: Mapping[str, str] = field(default_factory=dict)
    loose: frozenset[str] = frozenset()

    @property
    def next_key(self) -> str:
        """The public key that the set brings, to follow ``public_key``; empty where it brings none."""
        try:
            return str(json.loads(self.files[NODE_JSON]).get("next_key", ""))
        except (KeyError, ValueError, AttributeError):
            return ""


def open_guestinfo(values: object, redactor: Redactor) -> Opened:
    """Unpack the guestinfo in a VM's ``extraConfig``.

    Args:
        values: Key → value, without the engine's marks of secrets.
        redactor: Replaces the secrets.
    """
    held = {str(key): str(value) for key, value in values.items() if value} if isinstance(values, dict) else {}
    files: Files = {}
    rights: Rights = {}
    staged: set[str] = set()
    config_hash = public_key = ""
    if USERDATA in held:
        document = _document(held[USERDATA], held.get(USERDATA + ENCODING, ""))
        if document is None:
            digest = redactor.hidden(held[USERDATA])
            files[UNREADABLE] = f"not readable as a set: {len(held[USERDATA])} characters, {digest}\n"
        else:
            staged = _staged(document)
            written, rights, config_hash, public_key = _split(document)
            files |= written
    set_ = joined(held)
    if set_.head:
        staged |= set_.files.keys()
        if config_hash and config_hash != _hash_of(set_.head):
            # Two sets: the node takes the one of its own keys, and the other one is not hidden.
            files = {path if path == REST else f"({USERDATA}) {path}": text for path, text in files.items()}
            staged -= files.keys()
        config_hash = _hash_of(set_.head)
        rights |= _rights_of(set_.head)
        files |= set_.files
        if files.get(BOOTSTRAP) == set_.files.get(APPLIER):
            files.pop(BOOTSTRAP, None)  # the applier of the set once more
    for key, value in set_.unreadable.items():
        files[f"({key})"] = f"not readable as a part of the set: {len(value)} characters, {redactor.hidden(value)}\n"
    broken = {f"({key})" for key in set_.unreadable}
    if METADATA in held:
        text = decode(held[METADATA], held.get(METADATA + ENCODING, ""))
        files[f"({METADATA})"] = "not readable\n" if text is None else text
    known = {USERDATA, METADATA, USERDATA + ENCODING, METADATA + ENCODING}
    for key in sorted(set(held) - known - set_.read - set(set_.unreadable)):
        files[f"({key})"] = redactor(held[key]) + "\n"
    shown = {
        path: redactor(text.replace(config_hash, SET_HASH) if config_hash else text) for path, text in files.items()
    }
    shown_rights = {path: redactor(text) for path, text in rights.items() if path in shown}
    loose = frozenset(shown) - staged - {UNREADABLE} - broken
    return Opened(dict(sorted(shown.items())), config_hash, public_key, shown_rights, loose)


def only_known(held: Opened, own: Opened | None, redactor: Redactor) -> Mapping[str, str]:
    """Return the files of guestinfo of unknown origin; outside the set, only lines that the program writes too.

    Args:
        held: Guestinfo that was deployed or is in vCenter; anybody with access may have written into it.
        own: Guestinfo that the program renders from the stack file now; None where it renders none for this node.
        redactor: Replaces a line by its digest.

    Returns:
        Path → content; each unknown line outside the set is replaced by its digest.
    """
    shown = dict(held.files)
    for path in held.loose:
        lines = shown[path].splitlines()
        known = set(own.files.get(path, "").splitlines()) if own else set()
        shown[path] = "".join(
            f"{line if line in known or not WORD.search(line) else redactor.hidden(line)}\n" for line in lines
        )
    return shown


def decode(value: str, encoding: str) -> str | None:
    """Decode one guestinfo value.

    Args:
        value: The value that the guest reads.
        encoding: The value of its ``.encoding`` key: empty, ``base64``, ``gzip+base64`` or cloud-init's short forms.

    Returns:
        The text; None where the value does not have this encoding, or decodes to more than ``MAX_OPENED`` bytes.
    """
    try:
        data = base64.b64decode(value, validate=True) if "base64" in encoding or "b64" in encoding else value.encode()
        if encoding.startswith(("gzip", "gz")):
            unpacker = zlib.decompressobj(GZIP_WINDOW)
            data = unpacker.decompress(data, MAX_OPENED)
            if unpacker.unconsumed_tail:
                return None
        return data.decode()
    except (ValueError, binascii.Error, zlib.error):
        return None


def userdata_of(held: Mapping[str, str]) -> str:
    """Return the text of a VM's userdata; empty where there is none that can be read.

    Args:
        held: Guestinfo key → value.
    """
    return decode(held.get(USERDATA, ""), held.get(USERDATA + ENCODING, "")) or ""


def _document(value: str, encoding: str) -> dict[str, object] | None:
    text = decode(value, encoding)
    if text is None:
        return None
    try:
        document = json.loads(text.removeprefix("#cloud-config\n"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("write_files"), list) else None


def _staged(document: dict[str, object]) -> set[str]:
    """Return the paths of the set's own files: those that a cloud-config stages, and the node installs if signed."""
    entries = document["write_files"]
    assert isinstance(entries, list)
    paths = {str(entry.get("path")) for entry in entries if isinstance(entry, dict)}
    return {path.removeprefix(SET_FILES) for path in paths if path.startswith(f"{SET_FILES}/")}


def _split(document: dict[str, object]) -> tuple[Files, Rights, str, str]:
    """Return the files of a cloud-config, their owners and modes, the hash of its set and its public key.

    Manifest and signature are not files of the node, so they are left out. Owners and modes are those of the manifest,
    not those of the staged files.
    """
    files: Files = {}
    rights: Rights = {}
    config_hash = public_key = ""
    entries = document.pop("write_files")
    assert isinstance(entries, list)
    for entry in entries:
        path, content = (str(entry.get("path")), str(entry.get("content"))) if isinstance(entry, dict) else ("?", "")
        if path == MANIFEST:
            config_hash = _hash_of(content)
            rights |= _rights_of(content)
        elif path.startswith(f"{SET_FILES}/"):
            files[path.removeprefix(SET_FILES)] = content
        elif path != SIGNATURE:
            public_key = content if path == PUBLIC_KEY else public_key
            files[path] = content
            rights[path] = f"{entry.get('owner', ROOT)} {entry.get('permissions', '0644')}"
    files[REST] = json.dumps(document, indent=1, sort_keys=True) + "\n"
    return files, rights, config_hash, public_key


def _rights_of(manifest: str) -> Rights:
    """Return path → owner and mode, as the manifest defines them."""
    try:
        return {str(entry["path"]): f"{entry['owner']} {entry['mode']}" for entry in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _hash_of(manifest: str) -> str:
    try:
        found = str(json.loads(manifest)["hash"])
    except (ValueError, KeyError, TypeError):
        return ""
    return found if re.fullmatch("[0-9a-f]{64}", found) else ""
