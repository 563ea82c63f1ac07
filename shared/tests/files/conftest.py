"""A folder, and a bucket of moto's server, as stores of files."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
from kpi_shared.files.bucket import BucketStore
from kpi_shared.files.folder import FolderStore
from kpi_shared.files.store import FileStore
from moto.server import ThreadedMotoServer

BUCKET = "kpi-files"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    names = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
    yield url
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    server.stop()


@pytest.fixture
async def bucket(aws: str) -> AsyncIterator[BucketStore]:
    store = BucketStore(BUCKET, "stage/one", region="us-east-1", endpoint_url=aws)
    yield store
    client = boto3.client("s3", endpoint_url=aws)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    await store.close()


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[FolderStore]:
    store = FolderStore(tmp_path / "files")
    yield store
    await store.close()


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest) -> FileStore:
    found: FileStore = request.getfixturevalue(request.param)
    return found
