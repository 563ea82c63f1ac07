"""The key ring: what a file may say, and what its states mean."""

import hashlib
import json
import secrets

import pytest
from kpi_shared.key_ring import BadRingError, KeyRing, Purpose, parse_ring, parse_token_key
from kpi_shared.paserk import PaserkType, decode_paserk, encode_paserk
from ring_support import MadeKey, make_local, make_public, ring_text

LOCAL, PUBLIC = Purpose.LOCAL, Purpose.PUBLIC
ANY_MADE = pytest.mark.parametrize(("purpose", "make"), [(LOCAL, make_local), (PUBLIC, make_public)])


def entry(made: MadeKey, state: str) -> dict[str, str]:
    return {"key": made.minting, "state": state}


def text_of(*entries: object, purpose: str = "local") -> str:
    return json.dumps({"purpose": purpose, "keys": entries})


@ANY_MADE
def test_the_states_of_a_ring(purpose: Purpose, make: type[MadeKey]) -> None:
    following, active, old, gone = (make() for _ in range(4))
    text = ring_text({following: "next", active: "active", old: "verify-only", gone: "retired"})
    ring = parse_ring(text, purpose=purpose, mints=True)
    assert ring.active is not None
    assert ring.active.kid == active.kid == ring.keys[0].kid
    assert ring.states == {following.kid: "next", active.kid: "active", old.kid: "verify-only"}
    assert gone.kid not in ring
    assert "secret" not in repr(ring.keys).lower().replace("token", "")


def test_parts_that_do_not_mint_have_the_public_keys_only() -> None:
    active, following = make_public(), make_public()
    states = {active: "active", following: "next"}
    ring = parse_ring(ring_text(states, mints=False), purpose=PUBLIC, mints=False)
    assert ring.states == {active.kid: "active", following.kid: "next"}
    assert [key.can_mint for key in ring.keys] == [False, False]
    with pytest.raises(BadRingError, match=r"^key 1: k4\.secret\.\.\. is for the part that mints tokens alone"):
        parse_ring(ring_text(states), purpose=PUBLIC, mints=False)
    with pytest.raises(BadRingError, match=r"^key 1: this part mints tokens, so a key that is active must be k4\.secr"):
        parse_ring(ring_text(states, mints=False), purpose=PUBLIC, mints=True)


@pytest.mark.parametrize("mints", [True, False])
@ANY_MADE
def test_a_ring_and_a_key_of_the_other_purpose_are_refused(purpose: Purpose, make: type[MadeKey], mints: bool) -> None:
    other = PUBLIC if purpose is LOCAL else LOCAL
    made = make()
    with pytest.raises(BadRingError, match=f'its purpose is "{purpose}", but TOKEN_PURPOSE is "{other}"'):
        parse_ring(ring_text({made: "active"}, mints=mints), purpose=other, mints=mints)
    disguised = ring_text({made: "active"}, mints=mints, purpose=other)
    with pytest.raises(BadRingError, match=rf"^key 1: k4\.\w+\.\.\. is no key of the purpose {other}$"):
        parse_ring(disguised, purpose=other, mints=mints)
    for text in (made.minting, made.verifying):
        with pytest.raises(ValueError, match="is no key of the purpose"):
            parse_token_key(text, other)


# Fixed, since test names contain them.
A, B, C = (make_local(hashlib.sha256(name).digest()) for name in (b"a", b"b", b"d"))
WEAK = encode_paserk(PaserkType.LOCAL, b"ab" * 16)
KNOWN = encode_paserk(PaserkType.LOCAL, bytes(range(32)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        (text_of(entry(A, "active"))[:-9], "Invalid JSON"),
        ("[]", "object"),
        ("[" * 5000, "Invalid JSON"),
        (" " * 70_000, "it has more than 65536 bytes"),
        ('{"purpose": "local"}', "^keys: Field required"),
        ('{"purpose": "both", "keys": []}', "^purpose: "),
        (text_of(), "no key is active; one must be"),
        (text_of({"key": A.minting}), "^key 1: state: Field required"),
        (text_of(entry(A, "active"), entry(B, "future")), "^key 2: state: Input should be"),
        (text_of(entry(A, "verify-only")), "no key is active; one must be"),
        (text_of(entry(A, "active"), entry(B, "active")), "2 keys are active; one must be"),
        (text_of(entry(A, "active"), entry(B, "next"), entry(C, "next")), "2 keys are next; one may be"),
        (text_of(entry(A, "active"), {"kid": B.minting, "state": "killed"}), "^key 2: kid: String should match"),
        (text_of(entry(A, "active"), {"kid": f"{B.kid}=", "state": "killed"}), "^key 2: kid: String should match"),
        (text_of({**entry(A, "active"), "kid": A.minting}), "^key 1: kid: String should match"),
        (text_of(entry(A, "active"), *[{"kid": B.minting, "state": "retired"}] * 2), "^key 2: kid: String should"),
        (text_of(entry(A, "active"), entry(A, "next")), f"{A.kid} is listed twice"),
        (text_of(entry(A, "active"), {"kid": A.kid, "state": "retired"}), "is listed twice"),
        (text_of(entry(A, "active"), {"kid": B.kid, "state": "next"}), "^key 2: a key is needed"),
        (text_of(entry(A, "active"), {"state": "killed"}), "^key 2: a key is needed"),
        (text_of({**entry(A, "active"), "kid": B.kid}), "^key 1: its kid is not that of its key"),
        (text_of({"key": hashlib.sha256(b"c").hexdigest(), "state": "active"}), "^key 1: a key of the form k4.local"),
        (text_of({"key": WEAK, "state": "active"}), "^key 1: this key has too few distinct bytes"),
        (text_of({"key": KNOWN, "state": "active"}), "^key 1: this key has been published"),
        (text_of({"key": A.minting + "=", "state": "active"}), "^key 1: .*base64url"),
        (text_of({"key": A.minting[:-1], "state": "active"}), "^key 1: "),
        (text_of({"key": A.minting.replace("k4", "k3"), "state": "active"}), "^key 1: a key of the form"),
    ],
)
def test_a_ring_that_cannot_be_used_is_refused_without_a_key_in_the_message(text: str, reason: str) -> None:
    with pytest.raises(BadRingError, match=reason) as raised:
        parse_ring(text, purpose=LOCAL, mints=True)
    assert not any(made.minting[9:30] in str(raised.value) for made in (A, B))


def test_the_halves_of_a_secret_key_must_belong_together() -> None:
    (_, one), (_, other) = (decode_paserk(make_public().minting) for _ in range(2))
    mixed = encode_paserk(PaserkType.SECRET, one[:32] + other[32:])
    with pytest.raises(ValueError, match="the two halves"):
        parse_token_key(mixed, PUBLIC)


@ANY_MADE
def test_a_killed_key_gives_its_place_to_the_next_one(purpose: Purpose, make: type[MadeKey]) -> None:
    active, following, old = make(), make(), make()
    ring = parse_ring(
        ring_text({old: "verify-only", following: "next", active: "active"}), purpose=purpose, mints=True
    ).kill([active.kid])
    assert ring.active is not None
    assert ring.active.kid == following.kid
    assert ring.states == {old.kid: "verify-only", following.kid: "active"}
    alone = ring.kill([following.kid])
    assert alone.active is None
    assert alone.states == {old.kid: "verify-only"}
    assert alone.killed == {active.kid, following.kid}


@ANY_MADE
def test_a_file_may_kill_its_only_key(purpose: Purpose, make: type[MadeKey]) -> None:
    made, following = make(), make()
    gone = json.dumps({"purpose": purpose, "keys": [{"kid": made.kid, "state": "killed"}]})
    ring = parse_ring(gone, purpose=purpose, mints=True)
    assert (ring.active, ring.killed) == (None, {made.kid})
    ring = parse_ring(ring_text({made: "killed", following: "next"}), purpose=purpose, mints=True)
    assert ring.active is not None
    assert ring.active.kid == following.kid


def test_only_keys_of_the_local_purpose_are_symmetric() -> None:
    current, previous = secrets.token_bytes(32), secrets.token_bytes(32)
    assert KeyRing.local(current, [previous]).symmetric_keys == (current, previous)
    assert parse_ring(ring_text({make_public(): "active"}), purpose=PUBLIC, mints=True).symmetric_keys == ()
