"""Keys that turn while a process runs: what a codec accepts after each step, and how it follows its source."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import FastAPI
from kpi_shared.caller import Role
from kpi_shared.cursors import CursorSealer, InvalidCursorError
from kpi_shared.key_ring import KeyRing, Purpose, parse_ring
from kpi_shared.paging import cursor_sealer
from kpi_shared.settings import TokenSettings
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.token_keys.following import RingFollower, following
from kpi_shared.token_keys.reports import Holding, KeyReporter
from kpi_shared.token_keys.sources import FileRing
from kpi_shared.tokens import InvalidTokenError, NoActiveKeyError, TokenCodec, token_digest
from prometheus_client import generate_latest
from ring_support import MadeKey, make_local, make_public, ring_text

NAMES = {"issuer": "kpi-one", "audience": "kpi-one"}
MAKERS = {Purpose.LOCAL: make_local, Purpose.PUBLIC: make_public}
Make = Callable[[], MadeKey]


@pytest.fixture(params=list(Purpose))
def purpose(request: pytest.FixtureRequest) -> Purpose:
    return cast("Purpose", request.param)


@pytest.fixture
def make(purpose: Purpose) -> Make:
    return MAKERS[purpose]


def ring(keys: dict[MadeKey, str], *, mints: bool = True) -> KeyRing:
    purpose = Purpose.LOCAL if next(iter(keys)).kid.startswith("k4.lid.") else Purpose.PUBLIC
    return parse_ring(ring_text(keys, mints=mints), purpose=purpose, mints=mints)


def codec_of(keys: dict[MadeKey, str], *, mints: bool = True) -> TokenCodec:
    return TokenCodec(ring(keys, mints=mints), **NAMES)


def mint(codec: TokenCodec) -> str:
    lifetime = timedelta(minutes=5)
    return codec.mint(user_id=7, username="anna", role=Role.USER, session_id="12", lifetime=lifetime)


def is_valid(codec: TokenCodec, token: str) -> bool:
    try:
        codec.verify(token)
    except InvalidTokenError:
        return False
    return True


def test_what_auth_mints_is_verified_by_the_others(make: Make) -> None:
    made = make()
    auth, content = codec_of({made: "active"}), codec_of({made: "active"}, mints=False)
    token = mint(auth)
    subject = content.verify(token)
    assert (subject.id, subject.username, subject.token_key_id) == (7, "anna", made.kid)
    assert token.startswith("v4.local." if make is make_local else "v4.public.")


def test_only_auth_mints_public_tokens() -> None:
    made = make_public()
    with pytest.raises(NoActiveKeyError):
        mint(codec_of({made: "active"}, mints=False))


def test_a_token_of_the_other_purpose_is_refused(make: Make) -> None:
    own, other = make(), make_public() if make is make_local else make_local()
    codec, stranger = codec_of({own: "active"}), codec_of({other: "active"})
    token = mint(stranger)
    assert not is_valid(codec, token)
    renamed = token.replace("v4.local.", "v4.public.") if "local" in token[:9] else token.replace("public", "local", 1)
    assert not is_valid(codec, renamed)
    assert not is_valid(stranger, renamed)


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_no_character_of_a_public_token_can_be_changed(position: int) -> None:
    codec = codec_of({make_public(): "active"})
    token = mint(codec)
    at = position % len(token)
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    assert not is_valid(codec, changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token.replace(".", "=.", 3).replace("v4=.public=.", "v4.public."),
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: "v4.public." + token.rpartition(".")[2],
        lambda token: "v4.public.." + token.rpartition(".")[2],
        lambda token: "v2.public." + token.removeprefix("v4.public."),
        lambda token: token + "A" * 2048,
        lambda token: token[:0],
    ],
)
def test_a_public_token_has_one_spelling(change: Callable[[str], str]) -> None:
    codec = codec_of({make_public(): "active"})
    token = mint(codec)
    assert is_valid(codec, token)
    assert not is_valid(codec, change(token))


def test_each_state_of_a_key(make: Make) -> None:
    first, second = make(), make()
    codec = codec_of({first: "active"})
    old = mint(codec)
    codec.use(ring({first: "active", second: "next"}))
    assert is_valid(codec, mint(codec_of({second: "active"})))
    assert codec.verify(mint(codec)).token_key_id == first.kid
    codec.use(ring({first: "verify-only", second: "active"}))
    assert is_valid(codec, old)
    new = mint(codec)
    assert codec.verify(new).token_key_id == second.kid
    codec.use(ring({first: "retired", second: "active"}))
    assert not is_valid(codec, old)
    assert codec.find_verified(token_digest(old.encode())) is None
    assert codec.find_verified(token_digest(new.encode())) is not None


def test_a_killed_key_never_comes_back(make: Make) -> None:
    first, second = make(), make()
    codec = codec_of({first: "active", second: "next"})
    old = mint(codec)
    assert is_valid(codec, old)
    codec.kill(first.kid)
    assert not is_valid(codec, old)
    assert codec.verify(mint(codec)).token_key_id == second.kid
    codec.use(ring({first: "active"}))
    assert not is_valid(codec, old)
    with pytest.raises(NoActiveKeyError):
        mint(codec)
    codec.use(ring({first: "killed", second: "active"}))
    assert is_valid(codec, mint(codec))
    codec.use(ring({first: "verify-only", second: "active"}))
    assert not is_valid(codec, old)


def test_cursors_follow_the_ring(make: Make) -> None:
    first, second = make(), make()
    codec = codec_of({first: "active"})
    sealer = CursorSealer(codec.ring, lasting=[bytes(range(32, 64))])
    codec.on_change.append(sealer.use)
    cursor = sealer.seal(b"position", of="posts")
    codec.use(ring({first: "verify-only", second: "active"}))
    assert sealer.open(cursor, of="posts") == b"position"
    codec.use(ring({second: "active"}))
    if make is make_public:
        assert sealer.open(cursor, of="posts") == b"position"
        return
    with pytest.raises(InvalidCursorError):
        sealer.open(cursor, of="posts")


async def test_the_cursors_of_a_service_follow_its_ring(make: Make) -> None:
    first, second = make_local(), make()
    codec = codec_of({first: "active"})
    app = cast("FastAPI", SimpleNamespace(state=SimpleNamespace(settings=SimpleNamespace(lasting_secrets=()))))
    app.state.tokens = codec
    async for _ in cursor_sealer(app):
        cursor = app.state.cursors.seal(b"position", of="posts")
        assert app.state.cursors.open(cursor, of="posts") == b"position"
        codec.use(ring({second: "active"}))
        with pytest.raises(InvalidCursorError):
            app.state.cursors.open(cursor, of="posts")


def test_the_key_of_cursors_is_no_public_one() -> None:
    made = make_public()
    sealers = [CursorSealer(ring({made: "active"}), lasting=[bytes([number] * 32)]) for number in (1, 2)]
    cursor = sealers[0].seal(b"position", of="posts")
    with pytest.raises(InvalidCursorError):
        sealers[1].open(cursor, of="posts")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ring.json"


def write(path: Path, text: str) -> None:
    path.write_text(text)


def remove(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def break_file(path: Path, how: str) -> None:
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how != "missing":
        path.write_text(how)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.01)


def follower_of(codec: TokenCodec, path: Path) -> RingFollower:
    purpose = codec.ring.purpose
    return RingFollower(codec, FileRing(path), lambda text: parse_ring(text, purpose=purpose, mints=True))


async def test_a_change_of_the_file_is_followed_however_it_is_made(make: Make, path: Path) -> None:
    first, second = make(), make()
    write(path, ring_text({first: "active"}))
    codec = codec_of({first: "active"})
    follower = follower_of(codec, path)
    await follower.step()
    held = codec.ring
    await follower.step()
    assert codec.ring is held
    # In place, with the same size, and perhaps within one tick of the clock.
    write(path, ring_text({second: "active"}))
    await follower.step()
    assert codec.ring.states == {second.kid: "active"}
    temporary = path.with_name("new")
    write(temporary, ring_text({first: "active", second: "next"}))
    temporary.replace(path)
    await follower.step()
    assert codec.ring.states == {first.kid: "active", second.kid: "next"}


async def test_the_swap_of_a_mounted_secret_is_followed(make: Make, tmp_path: Path) -> None:
    """As Kubernetes does it: ``..data`` is a link to a folder, and is replaced by a link to another one."""
    first, second = make(), make()
    for name, made in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ring.json").write_text(ring_text({made: "active"}))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "ring.json").symlink_to("..data/ring.json")
    codec = codec_of({first: "active"})
    follower = follower_of(codec, tmp_path / "ring.json")
    await follower.step()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    await follower.step()
    assert codec.ring.states == {second.kid: "active"}


@pytest.mark.parametrize("text", ["", '{"purpose": "local", "keys": [{"sta', "missing", "directory"])
async def test_what_cannot_be_used_changes_nothing(make: Make, path: Path, text: str) -> None:
    first = make()
    write(path, ring_text({first: "active"}))
    codec = codec_of({first: "active"})
    follower = follower_of(codec, path)
    await follower.step()
    held = codec.ring
    break_file(path, text)
    # A file that is being written is no problem before the second look.
    await follower.step()
    assert follower.problem is None
    await follower.step()
    assert follower.problem
    assert codec.ring is held
    assert first.minting[10:] not in follower.problem
    remove(path)
    write(path, ring_text({first: "verify-only", make(): "active"}))
    await follower.step()
    assert follower.problem is None
    assert first.kid in codec.ring
    assert codec.ring is not held


async def test_a_ring_without_an_active_key_is_used_only_after_a_kill(make: Make, path: Path) -> None:
    first, killed = make(), make()
    write(path, ring_text({first: "active"}))
    codec = codec_of({first: "active"})
    follower = follower_of(codec, path)
    for bare in ({killed: "killed"}, {killed: "killed", first: "verify-only"}, {killed: "killed", first: "retired"}):
        write(path, ring_text(bare))
        await follower.step()
        await follower.step()
        assert follower.problem == "no key is active; one must be"
        assert codec.ring.states == {first.kid: "active"}
    write(path, ring_text({first: "killed"}))
    await follower.step()
    assert (follower.problem, codec.ring.active) == (None, None)
    # It stays usable until there is an active key again.
    write(path, ring_text({first: "killed", killed: "killed"}))
    await follower.step()
    assert follower.problem is None


async def test_a_process_follows_its_file_and_counts_its_keys(make: Make, purpose: Purpose, path: Path) -> None:
    first, second = make(), make()
    write(path, ring_text({first: "active"}))

    class Settings(TokenSettings):
        mints_tokens = True

    settings = Settings(paseto_keys_file=path, token_purpose=purpose, app_env="staging")  # type: ignore[arg-type]
    codec, metrics = TokenCodec.of(settings), Metrics("sample")
    async with following(codec, settings, metrics):
        write(path, ring_text({first: "active", second: "next"}))
        await eventually(lambda: second.kid in codec.ring)
        write(path, "{")
        await eventually(lambda: "kpi_token_keys_unusable 1.0" in generate_latest(metrics.registry).decode())
        shown = generate_latest(metrics.registry).decode()
        assert 'kpi_token_keys{state="active"} 1.0' in shown
        assert 'kpi_token_keys{state="next"} 1.0' in shown


async def test_a_change_is_reported_at_once_and_killed_keys_are_dropped(make: Make) -> None:
    first, second = make(), make()
    codec = codec_of({first: "active", second: "next"})
    sent: list[Holding] = []
    answer = SimpleNamespace(killed=[], fails=False)

    async def send(holding: Holding) -> list[str]:
        if answer.fails:
            raise OSError
        sent.append(holding)
        return list(answer.killed)

    reporter = KeyReporter(codec, part="content", send=send)
    for _ in range(5):
        await reporter.step()
    assert [holding.keys for holding in sent] == [{first.kid: "active", second.kid: "next"}]
    codec.use(ring({first: "verify-only", second: "active"}))
    answer.fails = True
    await reporter.step()
    answer.fails, answer.killed = False, [first.kid]
    for _ in range(5):
        await reporter.step()
    assert first.kid not in codec.ring
    assert [holding.keys for holding in sent[1:]] == [
        {first.kid: "verify-only", second.kid: "active"},
        {second.kid: "active"},
    ]
    assert len({holding.instance for holding in sent}) == 1
    assert sent[0].purpose is codec.ring.purpose
    # Every five seconds without a change: twenty looks.
    for _ in range(20):
        await reporter.step()
    assert len(sent) == 4
