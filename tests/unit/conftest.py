"""Fixtures of all unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lab.home.credentials
import lbstack.offline.check
from tests import keys


@pytest.fixture(scope="session", autouse=True)
def one_signing_key() -> Iterator[None]:
    """Give all labs and checks that need any signing key the same one, because creating one takes a tenth of a second.

    `lbstack signing-key`, which creates keys, has tests of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.home.credentials, "new_signing_key", keys.signing_key)
        patch.setattr(lbstack.offline.check, "new_signing_key", keys.signing_key)
        yield
