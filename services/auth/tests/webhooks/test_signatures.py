"""Signatures as https://www.standardwebhooks.com defines them, and the encryption of secrets."""

import base64
import hashlib
import hmac
import secrets

import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.webhooks.signatures import SecretSealer, UnreadableSecretError, make_secret
from kpi_kit.signatures import sign
from pydantic import SecretStr
from webhook_support import verify

# The vector of the reference libraries' own tests.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_reference_libraries() -> None:
    fields = sign(BODY, message_id=MESSAGE_ID, timestamp=TIMESTAMP, secrets=[SECRET])
    assert fields == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": SIGNATURE,
    }


def test_each_secret_signs_while_one_is_replaced() -> None:
    new = make_secret()
    fields = sign(BODY, message_id="evt_1", timestamp=TIMESTAMP, secrets=[new, SECRET])
    assert len(fields["webhook-signature"].split(" ")) == 2
    assert verify(BODY, fields, secret=new)
    assert verify(BODY, fields, secret=SECRET)
    assert not verify(BODY, fields, secret=make_secret())


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
def test_a_signature_covers_all_that_is_signed(changed: str) -> None:
    fields = sign(BODY, message_id="evt_1", timestamp=TIMESTAMP, secrets=[SECRET])
    body = BODY + b" " if changed == "body" else BODY
    if changed != "body":
        fields[changed] += "1"
    assert not verify(body, fields, secret=SECRET)


def test_a_secret_has_the_form_and_the_length_of_the_specification() -> None:
    made = {make_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        kind, _, text = secret.partition("_")
        assert kind == "whsec"
        assert 24 <= len(base64.b64decode(text, validate=True)) <= 64


def test_the_signature_is_an_hmac_of_id_time_and_body() -> None:
    fields = sign(BODY, message_id="evt_7", timestamp=99, secrets=[SECRET])
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = hmac.new(key, b"evt_7.99." + BODY, hashlib.sha256).digest()
    assert fields["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


def sealer(settings: AuthSettings, *keys: str) -> SecretSealer:
    first, *previous = [SecretStr(key) for key in keys]
    changes = {"auth_secret_key": first, "auth_previous_secret_keys": tuple(previous)}
    return SecretSealer(SecretKeys(settings.model_copy(update=changes)))


def test_a_stored_secret_is_encrypted_and_survives_the_replacement_of_the_key(settings: AuthSettings) -> None:
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    stored = sealer(settings, old).seal(SECRET)
    assert SECRET.removeprefix("whsec_") not in stored
    assert sealer(settings, new, old).open(stored) == SECRET
    with pytest.raises(UnreadableSecretError):
        sealer(settings, new).open(stored)
    with pytest.raises(UnreadableSecretError):
        sealer(settings, old).open(stored[:-2] + ("AA" if stored[-2:] != "AA" else "BB"))
