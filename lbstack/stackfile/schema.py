"""Generate the JSON Schema of stack files from the models, for editors.

The schema contains the forms of single values; the rules between values are in ``config/rules.py``. Every valid
configuration is also valid for the schema. It is Draft 7, which YAML editors support.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lbstack.config.credentials import NEXT_SIGNING_KEY, ROOT_HASH, SIGNING_KEY, STATS_PREFIX
from lbstack.config.fields import USER_NAME
from lbstack.config.models import StackConfig
from lbstack.config.section import Section
from lbstack.problems import ConfigError, LbstackError, Problem
from lbstack.stackfile.descriptions import descriptions
from lbstack.stackfile.load import NAMESPACE

FILE_NAME = "stack.schema.json"
DIALECT = "http://json-schema.org/draft-07/schema#"
# The engine's own keys of a stack file.
ENGINE_KEYS = ("encryptedkey", "encryptionsalt", "environment", "secretsprovider")
SECRET: dict[str, Any] = {
    "type": "object",
    "properties": {"secure": {"type": "string", "minLength": 1}},
    "required": ["secure"],
    "additionalProperties": False,
}
SECRET_DESCRIPTIONS = {
    SIGNING_KEY: "RSA private key that signs the nodes' sets: "
    f"`lbstack signing-key | pulumi config set --secret {SIGNING_KEY}`.",
    NEXT_SIGNING_KEY: "Key that follows signingKey while it is changed (docs/runbooks/signing-key.md): "
    f"`lbstack signing-key | pulumi config set --secret {NEXT_SIGNING_KEY}`.",
    ROOT_HASH: "Hash of root's password, for the console; without it the password is locked: "
    f"`lbstack hash-password | pulumi config set --secret {ROOT_HASH}`.",
}
STATS_DESCRIPTION = (
    "Hash of the password of a login of stats.users: "
    f"`lbstack hash-password | pulumi config set --secret {STATS_PREFIX}<login>`."
)


def stack_file_schema() -> dict[str, Any]:
    """Return the schema of a whole ``Pulumi.<stack>.yaml``."""
    model = StackConfig.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = model.pop("$defs")
    for section in Section.__subclasses__():
        properties = (model if section is StackConfig else definitions[section.__name__])["properties"]
        for key, text in descriptions(section).items():
            properties[key] = {"description": text} | properties[key]
    user = USER_NAME.schema["pattern"]
    keys = {f"{NAMESPACE}:{name}": value for name, value in model["properties"].items()}
    secrets = {f"{NAMESPACE}:{name}": SECRET | {"description": text} for name, text in SECRET_DESCRIPTIONS.items()}
    schema = {
        "$schema": DIALECT,
        "description": "Configuration of one load-balancer pair: Pulumi.<stack>.yaml of lbstack.",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "description": f"The stack's keys, each with a namespace: {NAMESPACE}:… and those of other packages.",
                "properties": keys | secrets,
                "patternProperties": {
                    f"^{NAMESPACE}:{STATS_PREFIX}{str(user).removeprefix('^')}": SECRET
                    | {"description": STATS_DESCRIPTION},
                    f"^(?!{NAMESPACE}:)[^:]+:": {},
                },
                "additionalProperties": False,
                "required": [f"{NAMESPACE}:{name}" for name in model["required"]],
            }
        }
        | {key: {} for key in ENGINE_KEYS},
        "additionalProperties": False,
        "required": ["config"],
        "definitions": definitions,
    }
    cleaned: dict[str, Any] = _cleaned(schema)
    return cleaned


def _cleaned(value: Any) -> Any:
    """Clean up a schema: no titles, no empty defaults, descriptions on one line, references as in draft 7."""
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    cleaned = {
        key: " ".join(item.split()).replace("``", "`")
        if key == "description" and isinstance(item, str)
        else _cleaned(item)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str)) and not (key == "default" and item is None)
    }
    if "$ref" in cleaned and len(cleaned) > 1:
        cleaned["allOf"] = [{"$ref": cleaned.pop("$ref")}]  # draft 7 ignores the other keys next to a $ref
    return cleaned


def text() -> str:
    """Return the content of the schema file."""
    return json.dumps(stack_file_schema(), indent=2, ensure_ascii=False) + "\n"


def write(path: Path) -> None:
    """Write the schema file.

    Args:
        path: The file.

    Raises:
        LbstackError: The file cannot be written.
    """
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise LbstackError(f"{path}: cannot be written ({error.strerror}). Give --file another path.") from None


def require_fresh(path: Path) -> None:
    """Compare a schema file with the models.

    Args:
        path: The file.

    Raises:
        ConfigError: The file cannot be read, or its content differs from the schema of the models.
    """
    remedy = "Run `lbstack schema --write`."
    try:
        current = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError([Problem(str(path), "cannot be read", remedy)], "the schema") from None
    if current != text():
        raise ConfigError([Problem(str(path), "differs from the schema of the models", remedy)], "the schema")
