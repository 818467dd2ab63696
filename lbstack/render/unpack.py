"""Guestinfo, opened: which files a node gets, as a report may show them.

The way back of ``userdata.py``: encoded values → files at their guest paths. Secrets are replaced before anything
leaves this module: a password's hash by a short digest, keyed with a secret of the stack, so that a change of it
shows and a guess cannot be tested. What cannot be opened is described, never shown; and what somebody else wrote beside
the set's files may be a password in clear, so only its digest is (``only_known``).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbstack.render.paths import MANIFEST, PUBLIC_KEY, ROOT, SET_FILES, SIGNATURE
from lbstack.render.redact import Redactor

Files = dict[str, str]
Rights = dict[str, str]

USERDATA, METADATA = "guestinfo.userdata", "guestinfo.metadata"
ENCODING = ".encoding"
REST = "(cloud-config beside the files)"
UNREADABLE = "(guestinfo.userdata)"
SET_HASH = "<hash of the set>"
MAX_OPENED = 4 << 20  # a set has some 100 kB; more is somebody's bomb
GZIP_WINDOW = 31  # zlib's way to say: with gzip's header
WORD = re.compile(r"\w")  # a line without one is brackets


@dataclass(frozen=True)
class Opened:
    """One VM's guestinfo as a report may show it.

    Args:
        files: Path → content, redacted, the set's own hash taken out; what is no file of the set has a name in
            brackets.
        config_hash: The set's hash; empty where there is none.
        rights: Path → owner and mode, such as ``root:root 0644``, of every file of which they are told.
        public_key: The key that the set is signed with; empty where there is none.
        loose: The paths of those that are not the set's own: whatever else stands in guestinfo.
    """

    files: Mapping[str, str]
    config_hash: str = ""
    public_key: str = ""
    rights: Mapping[str, str] = field(default_factory=dict)
    loose: frozenset[str] = frozenset()


def open_guestinfo(values: object, redactor: Redactor) -> Opened:
    """Open what a VM's ``extraConfig`` holds.

    Args:
        values: Key → value, without the engine's secret marks.
        redactor: What takes the secrets out.
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
    if METADATA in held:
        text = decode(held[METADATA], held.get(METADATA + ENCODING, ""))
        files[f"({METADATA})"] = "not readable\n" if text is None else text
    known = {USERDATA, METADATA, USERDATA + ENCODING, METADATA + ENCODING}
    for key in sorted(set(held) - known):
        files[f"({key})"] = redactor(held[key]) + "\n"
    shown = {
        path: redactor(text.replace(config_hash, SET_HASH) if config_hash else text) for path, text in files.items()
    }
    told = {path: redactor(text) for path, text in rights.items() if path in shown}
    loose = frozenset(shown) - staged - {UNREADABLE}
    return Opened(dict(sorted(shown.items())), config_hash, public_key, told, loose)


def only_known(held: Opened, own: Opened | None, redactor: Redactor) -> Mapping[str, str]:
    """The files of a set of unknown origin: what is not the set's own, only as far as the program writes the same.

    Args:
        held: What was deployed, or what vCenter has; somebody may have written into it.
        own: What the program makes of the stack file now; None where it makes nothing of this node.
        redactor: What hides a line.

    Returns:
        Path → content, in which each foreign line is a digest.
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
    """The text of one guestinfo value.

    Args:
        value: As the guest reads it.
        encoding: What its ``.encoding`` key says: empty, ``base64`` or ``gzip+base64``, or cloud-init's short forms.

    Returns:
        The text; None where it is not encoded as stated, or longer than ``MAX_OPENED`` bytes.
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
    """The paths of the set's own files, which a cloud-config stages and the node takes in only with a signature."""
    entries = document["write_files"]
    assert isinstance(entries, list)
    paths = {str(entry.get("path")) for entry in entries if isinstance(entry, dict)}
    return {path.removeprefix(SET_FILES) for path in paths if path.startswith(f"{SET_FILES}/")}


def _split(document: dict[str, object]) -> tuple[Files, Rights, str, str]:
    """The files of a cloud-config, their owners and modes, the hash of its set and its public key.

    Manifest and signature are no files of the node and left out. What the manifest says about a file is what the file
    gets; where it was staged before is of no interest.
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
    """Path → owner and mode, as a manifest orders them."""
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
