"""Secrets: their forms are checked, what is needed is there, and no message holds any part of one."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from lbstack.config.credentials import MAX_ROOT_ROUNDS, MAX_STATS_ROUNDS
from lbstack.problems import ConfigError
from lbstack.stackfile.load import load
from tests.strategies import signing_key, ssh_keys
from tests.unit.config.support import HASH, complaints, label, paths, right_configuration, right_secrets, spoiled

SALT, DIGEST = "saltsaltsaltsalt", "A" * 86


@cache
def key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(
    private: Any,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> str:
    encrypted = encryption or serialization.NoEncryption()
    encoded: bytes = private.private_bytes(serialization.Encoding.PEM, form, encrypted)
    return encoded.decode()


def inconsistent_key() -> str:
    numbers = key(2048).private_numbers()
    parts = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1 + 2, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    )
    return pem(parts.private_key(unsafe_skip_rsa_key_validation=True))


def said(name: str, value: object) -> str:
    """What is said about one secret, the others being right."""
    secrets: Any = right_secrets() | {name: value}
    problems = [problem for problem in complaints(right_configuration(), secrets) if problem.path == name]
    text = "\n".join(map(str, problems))
    if isinstance(value, str):
        for start in range(0, max(len(value) - 12, 0), 7):
            assert value[start : start + 12] not in text, "a part of the secret is in the message"
    return text


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_passes_in_both_of_its_usual_forms(form: serialization.PrivateFormat) -> None:
    assert said("signingKey", pem(key(2048), form)) == ""
    assert said("signingKey", pem(key(2048), form).replace("\n", "\r\n")) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "is missing. Set it with `lbstack signing-key | pulumi config set --secret signingKey`."),
        ("", "is missing."),
        ("correct horse battery staple", "is a text of 28 characters without the line -----BEGIN PRIVATE KEY-----"),
        (5, "is no text"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "that holds no readable private key"),
        ("-----BEGIN PRIVATE KEY-----\ud800", "that holds no readable private key"),
        (lambda: pem(key(1024)), "is an RSA key of 1024 bits, outside 2048 to 8192"),
        (lambda: pem(ed25519.Ed25519PrivateKey.generate()), "of another kind than RSA"),
        (
            lambda: pem(key(2048), encryption=serialization.BestAvailableEncryption(b"hunter2")),
            "is encrypted with a passphrase",
        ),
        (
            lambda: (
                key(2048)
                .public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                .decode()
            ),
            "is a public key of",
        ),
        (lambda: ssh_keys()[0], "is a public key of"),
        (inconsistent_key, "whose parts do not belong together"),
    ],
    ids=label,
)
def test_what_is_no_usable_signing_key_is_refused_unseen(value: Any, expected: str) -> None:
    assert expected in said("signingKey", value() if callable(value) else value)


@pytest.mark.parametrize(
    "value",
    [
        f"$6${SALT}${DIGEST}",
        f"$6$a${DIGEST}",
        f"$6$rounds=1000${SALT}${DIGEST}",
        f"$6$rounds={MAX_STATS_ROUNDS}$./09AZaz${DIGEST}",
    ],
    ids=["16 characters of salt", "one", "fewest rounds", "most rounds"],
)
def test_a_sha512_crypt_hash_passes(value: str) -> None:
    assert said("statsHash-admin", value) == ""
    assert said("rootPasswordHash", value) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("correct horse", "with blanks or line breaks"),
        ("correcthorsebattery", "does not begin with $6$; if it is a password in clear, change that password"),
        (f"$6${SALT}${DIGEST}\n", "with blanks or line breaks"),
        (f"$2b$12${'a' * 53}", "is a hash by bcrypt"),
        ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "is a hash by MD5"),
        (f"$5${SALT}${'A' * 43}", "is a hash by SHA-256"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "is a hash by yescrypt"),
        (f"$argon2id$v=19$m=65536${'A' * 43}", "is a hash by Argon2"),
        (f"$6${SALT}${DIGEST[:-1]}", "has a digest of 85 characters instead of 86"),
        (f"$6${SALT}${DIGEST}A", "has a digest of 87 characters instead of 86"),
        (f"$6$${DIGEST}", "has a salt of 0 characters, outside 1 to 16"),
        (f"$6${SALT}x${DIGEST}", "has a salt of 17 characters, outside 1 to 16"),
        (f"$6$salt+${DIGEST}", "a character in its salt that is none of ./0-9A-Za-z"),
        (f"$6${SALT}${DIGEST[:-1]}'", "a character in its digest that is none of ./0-9A-Za-z"),
        (f"$6${DIGEST}", "has 1 parts behind its scheme instead of salt and digest"),
        (f"$6${SALT}${DIGEST}$", "has 3 parts behind its scheme"),
        (f"$6$rounds=999${SALT}${DIGEST}", "a number of rounds that SHA-crypt does not know"),
        (f"$6$rounds=05000${SALT}${DIGEST}", "a number of rounds that SHA-crypt does not know"),
        (f"$6$rounds=99999999999${SALT}${DIGEST}", "a number of rounds that SHA-crypt does not know"),
        (f"$6$rounds=5000${DIGEST}", "has 1 parts behind its scheme"),
        (7, "is no text"),
    ],
    ids=label,
)
def test_what_is_no_sha512_crypt_hash_is_refused_unseen(value: object, expected: str) -> None:
    assert expected in said("statsHash-admin", value)
    assert expected in said("rootPasswordHash", value)


def test_the_statistics_page_allows_fewer_rounds_than_the_console_because_haproxy_waits_for_them() -> None:
    slow = f"$6$rounds={MAX_STATS_ROUNDS + 1}${SALT}${DIGEST}"
    assert f"has more than {MAX_STATS_ROUNDS} rounds" in said("statsHash-admin", slow)
    assert said("rootPasswordHash", slow) == ""
    too_slow = f"$6$rounds={MAX_ROOT_ROUNDS + 1}${SALT}${DIGEST}"
    assert f"has more than {MAX_ROOT_ROUNDS} rounds" in said("rootPasswordHash", too_slow)


def test_every_login_needs_its_hash_and_every_hash_its_login() -> None:
    secrets = right_secrets()
    secrets["statsHash-amdin"] = secrets.pop("statsHash-admin")
    problems = complaints(right_configuration(), secrets)
    assert paths(problems) == ["statsHash-admin", "statsHash-amdin"]
    assert problems[0].remedy == "Set it: `lbstack hash-password | pulumi config set --secret statsHash-admin`."
    assert "Did you mean statsHash-admin?" in problems[1].remedy


def test_a_login_that_is_none_is_not_asked_for_its_hash() -> None:
    problems = complaints(spoiled((("stats", "users", "a\nb; rm"), {})))
    assert paths(problems) == [r'stats.users["a\nb; rm"]']
    assert all(str(problem).isprintable() for problem in problems)


def test_an_empty_hash_counts_as_missing() -> None:
    assert paths(complaints(right_configuration(), right_secrets() | {"statsHash-admin": ""})) == ["statsHash-admin"]


def test_where_the_logins_are_unknown_nothing_is_said_about_their_hashes() -> None:
    assert paths(complaints(spoiled((("stats", "users"), 5)))) == ["stats.users"]


def test_a_secret_that_nobody_asked_for_is_a_problem() -> None:
    problems = complaints(right_configuration(), right_secrets() | {"password": "hunter2", "a\nb": "x"})
    assert paths(problems) == ["password", r'["a\nb"]'] or paths(problems) == [r'["a\nb"]', "password"]
    assert "hunter2" not in "".join(map(str, problems))


@pytest.mark.parametrize("name", ["signingKey", "rootPasswordHash", "statsHash-admin"])
def test_a_secret_among_the_configuration_is_refused_unseen(name: str) -> None:
    raw = spoiled(((name,), "hunter2-hunter2"))
    (problem,) = complaints(raw)
    assert problem.path == name
    assert "is a secret and does not belong in the configuration" in problem.what
    assert "hunter2" not in str(problem)


def test_the_text_form_of_the_secrets_shows_nothing() -> None:
    _, secrets = load(right_configuration(), right_secrets() | {"rootPasswordHash": HASH})
    assert repr(secrets) == str(secrets) == "Secrets()"


def test_an_error_about_a_secret_has_none_in_any_text_form() -> None:
    with pytest.raises(ConfigError) as caught:
        load(right_configuration(), {"signingKey": signing_key()[:-200], "statsHash-admin": "hunter2hunter2"})
    for text in (str(caught.value), repr(caught.value), repr(caught.value.args), repr(caught.value.problems)):
        assert signing_key()[100:130] not in text
        assert "hunter2" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
