"""The JSON Schema for editors and the engine's declarations in Pulumi.yaml agree with the models."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from lbstack.config.credentials import is_secret_key
from lbstack.config.models import StackConfig
from lbstack.stackfile import schema
from lbstack.stackfile.descriptions import descriptions
from tests.unit.config.support import LAB, REMOVE, ROOT, Location, put, valid_configuration

VALIDATOR = Draft7Validator(schema.stack_file_schema())


def stack_file(raw: dict[str, Any]) -> dict[str, Any]:
    return {"config": {f"lbstack:{key}": value for key, value in raw.items()}}


def schema_errors(document: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


def test_the_schema_file_is_generated_from_the_models() -> None:
    assert (ROOT / schema.FILE_NAME).read_text() == schema.text(), "run `lbstack schema --write`"


def test_the_schema_is_valid_draft_7() -> None:
    Draft7Validator.check_schema(schema.stack_file_schema())


@pytest.mark.parametrize("name", ["Pulumi.lab.yaml", "stack.example.yaml"])
def test_the_stack_files_of_the_checkout_are_valid_and_name_the_schema(name: str) -> None:
    text = (ROOT / name).read_text()
    assert schema_errors(yaml.safe_load(text)) == []
    assert text.startswith(f"# yaml-language-server: $schema={schema.FILE_NAME}\n")


def test_the_editor_uses_the_schema_for_every_stack_file() -> None:
    settings = json.loads((ROOT / ".vscode/settings.json").read_text())
    assert settings["yaml.schemas"] == {f"./{schema.FILE_NAME}": ["Pulumi.*.yaml", "stack.example.yaml"]}


def test_every_key_has_a_description() -> None:
    document = schema.stack_file_schema()
    sections = [document["properties"]["config"], *document["definitions"].values()]
    keys = [
        (key, value) for section in sections if "properties" in section for key, value in section["properties"].items()
    ]
    assert len(keys) > 60
    undescribed = [key for key, value in keys if not value.get("description") and not _referenced(document, value)]
    assert undescribed == []


def _referenced(document: dict[str, Any], value: dict[str, Any]) -> str:
    text: str = document["definitions"].get(_reference(value), {}).get("description", "")
    return text


def _reference(value: dict[str, Any]) -> str:
    reference: str = value.get("$ref") or value.get("allOf", [{}])[0].get("$ref", "")
    return reference.rpartition("/")[2]


@pytest.mark.parametrize(
    ("location", "value"),
    [
        (("colour",), "blue"),
        (("nodes", 0, "memory"), 2048),
        (("nodes", 0, "memoryMiB"), "2048"),
        (("nodes", 0, "diskGiB"), 8),
        (("nodes", 1), REMOVE),
        (("nodes", 0, "name"), "Photon_LB"),
        (("network", "gateway"), "192.168.6.1/24"),
        (("network", "dns"), []),
        (("vrrp", "routerId"), 256),
        (("image", "release"), 4.0),
        (("services", "a b"), {}),
        (("services", "horizon", "kind"), "uag"),
        (("services", "horizon", "servers"), []),
        (("services", "horizon", "healthInterval"), "30"),
        (("stats", "users", "a:b"), {}),
        (("packages",), {"versions": {"nginx": "1.0"}}),
        (("packages",), {"repository": "http://mirror.example.com"}),
        (("protect",), "yes"),
        (("lifecycle",), "prod"),
        (("vrrp",), REMOVE),
    ],
    ids=str,
)
def test_an_editor_marks_a_mistake(location: Location, value: object) -> None:
    assert schema_errors(stack_file(valid_configuration())) == []
    assert schema_errors(stack_file(put(valid_configuration(), location, value)))


def test_an_editor_accepts_encrypted_secrets_only() -> None:
    document = stack_file(valid_configuration())
    for name in ("signingKey", "rootPasswordHash", "statsHash-admin"):
        document["config"][f"lbstack:{name}"] = {"secure": "v1:abc"}
    assert schema_errors(document) == []
    document["config"]["lbstack:statsHash-admin"] = "$6$salt$digest"
    assert schema_errors(document)
    document["config"]["lbstack:statsHash-a:b"] = {"secure": "v1:abc"}
    assert len(schema_errors(document)) == 2


def test_an_editor_accepts_other_namespaces_and_the_engines_own_keys() -> None:
    document = stack_file(valid_configuration()) | {"encryptionsalt": "v1:abc", "secretsprovider": "passphrase"}
    document["config"]["vsphere:user"] = "someone"
    document["config"]["vsphere:password"] = {"secure": "v1:abc"}
    assert schema_errors(document) == []


# The engine's declarations of the keys, in Pulumi.yaml.


@cache
def project_config() -> dict[str, Any]:
    project: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    config: dict[str, Any] = project["config"]
    return config


def declared() -> dict[str, dict[str, Any]]:
    return {key: value for key, value in project_config().items() if ":" not in key}


def test_the_project_declares_every_key_and_no_other() -> None:
    fields = {str(field.alias) for field in StackConfig.model_fields.values()}
    secrets = {key for key in declared() if is_secret_key(key)}
    assert secrets == {"signingKey", "nextSigningKey", "rootPasswordHash"}
    assert set(declared()) == fields | secrets


def test_the_project_and_the_models_describe_every_key_equally() -> None:
    texts = descriptions(StackConfig)
    for field in StackConfig.model_fields.values():
        assert declared()[str(field.alias)]["description"] == texts[str(field.alias)]
    for key, text in schema.SECRET_DESCRIPTIONS.items():
        assert declared()[key]["description"] == text


def test_the_project_declares_the_type_of_every_key() -> None:
    """As in the schema: a section is an object, a list an array with its items' type, any other value a string."""
    document = schema.stack_file_schema()
    properties = document["properties"]["config"]["properties"]
    for key, declaration in declared().items():
        kind, items = _engine_type(document, properties[f"lbstack:{key}"])
        assert (declaration["type"], declaration.get("items", {}).get("type")) == (kind, items), key


def _engine_type(document: dict[str, Any], described: dict[str, Any]) -> tuple[str, str | None]:
    if reference := _reference(described):
        return _engine_type(document, document["definitions"][reference])
    if "secure" in described.get("properties", {}) or "anyOf" in described:
        return "string", None
    kind = described["type"]
    return kind, _engine_type(document, described["items"])[0] if kind == "array" else None


def test_every_key_has_an_empty_default_so_that_the_engine_does_not_stop_at_the_first_missing_one() -> None:
    empty = {"string": "", "object": {}, "array": []}
    for key, declaration in declared().items():
        assert declaration["default"] == ("lifecycle" if key == "protect" else empty[declaration["type"]]), key
        # The engine would require a default to be encrypted; deploy/settings.py refuses a secret in plain text.
        assert "secret" not in declaration
        assert "value" not in declaration


def test_only_explicit_providers_are_used() -> None:
    assert project_config()["pulumi:disable-default-providers"] == {"value": ["*"]}


def test_the_lab_file_holds_no_secret() -> None:
    assert not re.search(r"secure:|password:|PRIVATE|\$6\$", LAB.read_text())
