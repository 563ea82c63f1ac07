"""With which keys the content of a mail can be read after the keys of the tokens have turned."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from kpi_auth.mails.outbox import PURPOSE, UnreadableMailError, content_keys, open_content
from kpi_auth.settings import AuthSettings
from kpi_shared.key_ring import Purpose
from kpi_shared.tokens import seal
from pydantic import SecretStr
from ring_support import MadeKey, make_local, make_public, ring_text

URL = SecretStr("postgresql://kpi:quiet-pass@localhost/kpi")
VALUES = {"username": "anna"}


def settings(**given: object) -> AuthSettings:
    return AuthSettings(database_url=URL, **given)  # type: ignore[arg-type]


def encrypt(settings: AuthSettings) -> str:
    key = content_keys(settings, settings.read_ring())[0]
    return seal(json.dumps(VALUES).encode(), key=key, implicit=PURPOSE)


def decrypt(settings: AuthSettings, content: str) -> dict[str, str]:
    return open_content(content_keys(settings, settings.read_ring()), content)


@pytest.mark.parametrize("make", [make_local, make_public])
def test_a_mail_outlives_the_keys_of_a_ring_that_turns(make: Callable[[], MadeKey], tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_text(ring_text({make(): "active"}))
    purpose = Purpose.LOCAL if make is make_local else Purpose.PUBLIC
    turning = settings(token_purpose=purpose, paseto_keys_file=path, auth_secret_key=SecretStr(secrets.token_hex(32)))
    content = encrypt(turning)
    path.write_text(ring_text({make(): "active"}))
    assert decrypt(turning, content) == VALUES
    other = turning.model_copy(update={"auth_secret_key": SecretStr(secrets.token_hex(32))})
    with pytest.raises(UnreadableMailError):
        decrypt(other, content)


def test_mails_of_before_and_after_the_ring_are_read_by_both(tmp_path: Path) -> None:
    text, own = secrets.token_hex(32), SecretStr(secrets.token_hex(32))
    key = bytes.fromhex(text)
    path = tmp_path / "ring"
    path.write_text(ring_text({make_local(key): "active"}))
    before = settings(paseto_secret_key=SecretStr(text), auth_secret_key=own)
    after = settings(paseto_keys_file=path, auth_secret_key=own)
    assert decrypt(after, encrypt(before)) == VALUES
    assert decrypt(before, encrypt(after)) == VALUES


def test_a_ring_that_turns_needs_a_key_that_lasts(tmp_path: Path) -> None:
    (tmp_path / "ring").write_text(ring_text({make_local(): "active"}))
    with pytest.raises(ValueError, match="AUTH_SECRET_KEY: is required with PASETO_KEYS_FILE"):
        settings(paseto_keys_file=tmp_path / "ring")
