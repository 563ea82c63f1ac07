"""A key ring in AWS Secrets Manager, against moto's server over HTTP."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from kpi_cli.errors import FailureError
from kpi_cli.operations.aws_ring import MEMBER, AwsStore
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import Ring, State, dump, make_key, make_ring, now, parse
from kpi_cli.token_keys.rotation import Plan, Rotator
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from types_boto3_secretsmanager.client import SecretsManagerClient

REGION = "eu-central-1"
OTHER_MEMBER = {"DATABASE_URL": "postgresql://kpi_auth:a-password@db.test:5432/kpi_auth"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["SecretsManagerClient"]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager", region_name=REGION)
    yield client
    client.close()


def create(client: "SecretsManagerClient", name: str, ring: Ring | None) -> None:
    member = {MEMBER: dump(ring)} if ring is not None else {}
    client.create_secret(Name=name, SecretString=json.dumps({**OTHER_MEMBER, **member}))


def read(client: "SecretsManagerClient", name: str, stage: str = "AWSCURRENT") -> dict[str, str]:
    found: dict[str, str] = json.loads(client.get_secret_value(SecretId=name, VersionStage=stage)["SecretString"])
    return found


def test_a_rotation_in_secrets_keeps_what_else_they_contain(client: "SecretsManagerClient") -> None:
    create(client, "rotated/auth", make_ring(Purpose.PUBLIC, now()))
    create(client, "rotated/content", None)
    store = AwsStore("rotated/auth", ["rotated/content"])
    store.pause_seconds = 0

    def ask(_: str, request: Any, *, seconds: float | None = None) -> dict[str, Any]:
        # Before the first change the copy does not exist.
        copy = read(client, "rotated/content").get(MEMBER)
        keys = {key.kid: key.state.value for key in parse(copy, "").keys} if copy else {}
        holders = [{"part": part, "instance": "1", "keys": keys} for part in ("auth", "content")]
        return {"holders": holders, "killed": [], "token_seconds": 60, "asked": (request, seconds)}

    ring = Rotator(store, ask, Plan(("auth", "content"), wait=0), lambda _: None).run()
    assert [key.state for key in ring.keys] == [State.ACTIVE, State.RETIRED]
    own, copy = read(client, "rotated/auth"), read(client, "rotated/content")
    assert own.items() >= OTHER_MEMBER.items() <= copy.items()
    assert own[MEMBER] == dump(ring)
    assert copy[MEMBER] == dump(ring.for_verifiers())
    assert "k4.secret." not in copy[MEMBER]
    # The version before can be had back, and no stage of a step is left.
    assert MEMBER in read(client, "rotated/auth", "AWSPREVIOUS")
    stages = client.describe_secret(SecretId="rotated/auth")["VersionIdsToStages"].values()
    assert {stage for found in stages for stage in found} <= {"AWSCURRENT", "AWSPREVIOUS"}


def test_a_change_that_comes_in_between_is_not_lost(client: "SecretsManagerClient") -> None:
    create(client, "raced/auth", make_ring(Purpose.LOCAL, now()))
    store, other = AwsStore("raced/auth"), AwsStore("raced/auth")
    steps: list[Ring] = []

    def announce(ring: Ring) -> Ring:
        if not steps:
            # Between reading and writing, somebody else replaces another member, and kills a key.
            document = read(client, "raced/auth")
            client.put_secret_value(SecretId="raced/auth", SecretString=json.dumps({**document, "CORS_ORIGINS": "x"}))
            other.update(lambda it: it.kill("k4.lid." + "A" * 44, now()))
        steps.append(ring)
        return ring.announce(now())

    ring = store.update(announce)
    assert len(steps) == 2
    assert [key.state for key in ring.keys] == [State.NEXT, State.ACTIVE, State.KILLED]
    found = read(client, "raced/auth")
    assert (found["CORS_ORIGINS"], found[MEMBER]) == ("x", dump(ring))


def test_a_secret_that_changes_all_the_time_is_one_sentence(
    client: "SecretsManagerClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpi_cli.operations.aws_ring.time.sleep", lambda _: None)
    create(client, "busy/auth", make_ring(Purpose.LOCAL, now()))
    other = AwsStore("busy/auth")

    def announce(ring: Ring) -> Ring:
        other.update(lambda it: it.kill(make_key(it.purpose, State.NEXT, now()).kid, now()))
        return ring.announce(now())

    with pytest.raises(FailureError, match="the secret busy/auth changes too often"):
        AwsStore("busy/auth").update(announce)


def test_a_ring_that_is_an_object_is_read_as_the_parts_do(client: "SecretsManagerClient") -> None:
    ring = make_ring(Purpose.LOCAL, now())
    client.create_secret(Name="object/auth", SecretString=json.dumps({MEMBER: json.loads(dump(ring))}))
    store = AwsStore("object/auth")
    assert store.read() == ring
    changed = store.update(lambda it: it.announce(now()))
    assert store.read() == changed


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (None, "AWS responds with ResourceNotFoundException"),
        ("not JSON", "it is not a JSON object"),
        ('["k4.local.AAAA"]', "it is not a JSON object"),
        ("{}", f"has no {MEMBER}"),
        (json.dumps({MEMBER: "{"}), "a JSON object with"),
    ],
)
def test_a_secret_without_a_ring_is_one_sentence(
    client: "SecretsManagerClient", secret: str | None, problem: str
) -> None:
    name = f"bad/{abs(hash((secret, problem)))}"
    if secret is not None:
        client.create_secret(Name=name, SecretString=secret)
    with pytest.raises(FailureError, match=problem) as caught:
        AwsStore(name).read()
    assert "k4.local.AAAA" not in "".join(caught.value.lines())


def test_an_endpoint_that_does_not_respond_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(FailureError, match="the secret kpi/auth"):
        AwsStore("kpi/auth").read()
