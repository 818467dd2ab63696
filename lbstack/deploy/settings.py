"""Read what the engine passes to the program: configuration, secrets and the vCenter login.

Rules about the values are in ``lbstack/stackfile``; here is only how Pulumi passes them, and the check that every
secret is one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pulumi
from pulumi.runtime import is_config_secret
from pulumi.runtime.config import CONFIG, get_config_env

from lbstack.config.credentials import Secrets, is_secret_key
from lbstack.config.models import StackConfig
from lbstack.problems import ConfigError, Problem
from lbstack.stackfile.load import NAMESPACE, load
from lbstack.vcenter.login import LOGIN_VARIABLES, Login


@dataclass(frozen=True)
class Settings:
    """Everything that one run of the program knows about its stack."""

    stack: StackConfig
    secrets: Secrets
    login: Login


def read_settings() -> Settings:
    """Read and validate this run's configuration.

    Raises:
        ConfigError: Every problem of configuration, secrets and login at once.
    """
    raw: dict[str, object] = {}
    secrets: dict[str, str] = {}
    problems: list[Problem] = []
    for key, text in (get_config_env() | CONFIG.get()).items():
        namespace, _, name = key.partition(":")
        if namespace != NAMESPACE:
            continue
        if is_secret_key(name):
            secrets[name] = text
            if text and not is_config_secret(key):  # empty is Pulumi.yaml's default: not given
                remedy = f"It was readable: make a new one and set it with `pulumi config set --secret {name}`."
                problems.append(Problem(name, "is a secret, but stands in the stack file in clear", remedy))
        else:
            raw[name] = _parse(text)
    login, login_problems = _read_login()
    problems += login_problems
    try:
        stack, checked = load(raw, secrets)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems, f"the configuration of stack {pulumi.get_stack()}")
    return Settings(stack, checked, login)


def _parse(text: str) -> object:
    """Objects and lists arrive as JSON, scalars as the bare text of the stack file."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_login() -> tuple[Login, list[Problem]]:
    config = pulumi.Config("vsphere")
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for key, variable in LOGIN_VARIABLES.items():
        value = config.get(key) or os.environ.get(variable)
        if not value:
            secret = "--secret " if key == "password" else ""
            remedy = f"Set it with `pulumi config set {secret}vsphere:{key}`, or export {variable}."
            problems.append(Problem(f"vsphere:{key}", "is not set", remedy))
        values[key] = value or ""
    if config.get("password") and not is_config_secret("vsphere:password"):
        remedy = "Set it again with `pulumi config set --secret vsphere:password` and change it in vCenter."
        problems.append(Problem("vsphere:password", "stands in the stack file in clear", remedy))
    unverified = config.get_bool("allowUnverifiedSsl") or False
    return Login(values["vsphereServer"], values["user"], values["password"], verify=not unverified), problems
