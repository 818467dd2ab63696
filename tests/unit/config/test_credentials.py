"""Secrets: their forms are checked, missing ones are reported, and no message contains any part of one."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from lbstack.config.credentials import MAX_ROOT_ROUNDS, MAX_STATS_ROUNDS
from lbstack.problems import ConfigError
from lbstack.stackfile.load import load
from tests.keys import signing_key, ssh_keys
from tests.unit.config.support import HASH, label, paths, problems_of, valid_configuration, valid_secrets, with_changes

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


def message_about(name: str, value: object) -> str:
    """The validation errors about one secret, with valid values for the others."""
    secrets: Any = valid_secrets() | {name: value}
    problems = [problem for problem in problems_of(valid_configuration(), secrets) if problem.path == name]
    text = "\n".join(map(str, problems))
    if isinstance(value, str):
        for start in range(0, max(len(value) - 12, 0), 7):
            assert value[start : start + 12] not in text, "the message contains a part of the secret"
    return text


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_is_accepted_in_both_usual_formats(form: serialization.PrivateFormat) -> None:
    assert message_about("signingKey", pem(key(2048), form)) == ""
    assert message_about("signingKey", pem(key(2048), form).replace("\n", "\r\n")) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "is missing. Set it with `lbstack signing-key | pulumi config set --secret signingKey`."),
        ("", "is missing."),
        ("correct horse battery staple", "is a string of 28 characters without the line -----BEGIN PRIVATE KEY-----"),
        (5, "is not a string"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "without a readable private key"),
        ("-----BEGIN PRIVATE KEY-----\ud800", "without a readable private key"),
        (lambda: pem(key(1024)), "is an RSA key of 1024 bits, outside 2048 to 8192"),
        (lambda: pem(ed25519.Ed25519PrivateKey.generate()), "is not an RSA private key"),
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
        (inconsistent_key, "is an RSA key with inconsistent parts"),
    ],
    ids=label,
)
def test_an_unusable_signing_key_is_refused_without_being_shown(value: Any, expected: str) -> None:
    assert expected in message_about("signingKey", value() if callable(value) else value)


@pytest.mark.parametrize(
    "value",
    [
        f"$6${SALT}${DIGEST}",
        f"$6$a${DIGEST}",
        f"$6$rounds=1000${SALT}${DIGEST}",
        f"$6$rounds={MAX_STATS_ROUNDS}$./09AZaz${DIGEST}",
    ],
    ids=["16 characters of salt", "1 character of salt", "fewest rounds", "most rounds"],
)
def test_a_sha512_crypt_hash_is_accepted(value: str) -> None:
    assert message_about("statsHash-admin", value) == ""
    assert message_about("rootPasswordHash", value) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("correct horse", "with spaces or line breaks"),
        ("correcthorsebattery", "does not begin with $6$; if it is a plain password, change that password"),
        (f"$6${SALT}${DIGEST}\n", "with spaces or line breaks"),
        (f"$2b$12${'a' * 53}", "is a hash made with bcrypt"),
        ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "is a hash made with MD5"),
        (f"$5${SALT}${'A' * 43}", "is a hash made with SHA-256"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "is a hash made with yescrypt"),
        (f"$argon2id$v=19$m=65536${'A' * 43}", "is a hash made with Argon2"),
        (f"$6${SALT}${DIGEST[:-1]}", "has a digest of 85 characters instead of 86"),
        (f"$6${SALT}${DIGEST}A", "has a digest of 87 characters instead of 86"),
        (f"$6$${DIGEST}", "has a salt of 0 characters, outside 1 to 16"),
        (f"$6${SALT}x${DIGEST}", "has a salt of 17 characters, outside 1 to 16"),
        (f"$6$salt+${DIGEST}", "a character in its salt other than ./0-9A-Za-z"),
        (f"$6${SALT}${DIGEST[:-1]}'", "a character in its digest other than ./0-9A-Za-z"),
        (f"$6${DIGEST}", "has 1 parts after its scheme instead of salt and digest"),
        (f"$6${SALT}${DIGEST}$", "has 3 parts after its scheme"),
        (f"$6$rounds=999${SALT}${DIGEST}", "an invalid number of rounds for SHA-crypt"),
        (f"$6$rounds=05000${SALT}${DIGEST}", "an invalid number of rounds for SHA-crypt"),
        (f"$6$rounds=99999999999${SALT}${DIGEST}", "an invalid number of rounds for SHA-crypt"),
        (f"$6$rounds=5000${DIGEST}", "has 1 parts after its scheme"),
        (7, "is not a string"),
    ],
    ids=label,
)
def test_an_unusable_password_hash_is_refused_without_being_shown(value: object, expected: str) -> None:
    assert expected in message_about("statsHash-admin", value)
    assert expected in message_about("rootPasswordHash", value)


def test_the_statistics_page_allows_fewer_rounds_than_the_console_because_haproxy_computes_them() -> None:
    slow = f"$6$rounds={MAX_STATS_ROUNDS + 1}${SALT}${DIGEST}"
    assert f"has more than {MAX_STATS_ROUNDS} rounds" in message_about("statsHash-admin", slow)
    assert message_about("rootPasswordHash", slow) == ""
    too_slow = f"$6$rounds={MAX_ROOT_ROUNDS + 1}${SALT}${DIGEST}"
    assert f"has more than {MAX_ROOT_ROUNDS} rounds" in message_about("rootPasswordHash", too_slow)


def test_every_login_needs_its_hash_and_every_hash_its_login() -> None:
    secrets = valid_secrets()
    secrets["statsHash-amdin"] = secrets.pop("statsHash-admin")
    problems = problems_of(valid_configuration(), secrets)
    assert paths(problems) == ["statsHash-admin", "statsHash-amdin"]
    assert problems[0].remedy == "Set it: `lbstack hash-password | pulumi config set --secret statsHash-admin`."
    assert "Did you mean statsHash-admin?" in problems[1].remedy


def test_no_hash_is_required_for_an_invalid_login() -> None:
    problems = problems_of(with_changes((("stats", "users", "a\nb; rm"), {})))
    assert paths(problems) == [r'stats.users["a\nb; rm"]']
    assert all(str(problem).isprintable() for problem in problems)


def test_an_empty_hash_counts_as_missing() -> None:
    assert paths(problems_of(valid_configuration(), valid_secrets() | {"statsHash-admin": ""})) == ["statsHash-admin"]


def test_hashes_are_not_reported_where_the_logins_are_unknown() -> None:
    assert paths(problems_of(with_changes((("stats", "users"), 5)))) == ["stats.users"]


def test_an_unknown_secret_is_a_problem() -> None:
    problems = problems_of(valid_configuration(), valid_secrets() | {"password": "hunter2", "a\nb": "x"})
    assert paths(problems) == ["password", r'["a\nb"]'] or paths(problems) == [r'["a\nb"]', "password"]
    assert "hunter2" not in "".join(map(str, problems))


@pytest.mark.parametrize("name", ["signingKey", "rootPasswordHash", "statsHash-admin"])
def test_a_secret_in_the_configuration_is_refused_without_being_shown(name: str) -> None:
    raw = with_changes(((name,), "hunter2-hunter2"))
    (problem,) = problems_of(raw)
    assert problem.path == name
    assert "is a secret and does not belong in the configuration" in problem.what
    assert "hunter2" not in str(problem)


def test_the_repr_of_the_secrets_shows_nothing() -> None:
    _, secrets = load(valid_configuration(), valid_secrets() | {"rootPasswordHash": HASH})
    assert repr(secrets) == str(secrets) == "Secrets()"


def test_an_error_about_a_secret_does_not_contain_it_in_any_text_form() -> None:
    with pytest.raises(ConfigError) as caught:
        load(valid_configuration(), {"signingKey": signing_key()[:-200], "statsHash-admin": "hunter2hunter2"})
    for text in (str(caught.value), repr(caught.value), repr(caught.value.args), repr(caught.value.problems)):
        assert signing_key()[100:130] not in text
        assert "hunter2" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_key_that_is_to_follow_is_checked_like_the_one_that_signs() -> None:
    assert message_about("nextSigningKey", pem(key(3072))) == ""
    assert message_about("nextSigningKey", "") == ""
    told = message_about("nextSigningKey", pem(key(1024)))
    assert "is an RSA key of 1024 bits, outside 2048 to 8192" in told
    assert "pulumi config set --secret nextSigningKey" in told
    assert load(valid_configuration(), valid_secrets())[1].next_signing_key is None
    secrets = valid_secrets() | {"nextSigningKey": pem(key(3072))}
    assert load(valid_configuration(), secrets)[1].next_signing_key == pem(key(3072))


def test_a_key_does_not_follow_itself() -> None:
    told = message_about("nextSigningKey", signing_key())
    assert "is the same key as signingKey" in told
    assert "pulumi config rm nextSigningKey" in told
