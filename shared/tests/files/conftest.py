"""A folder, and a bucket of moto's server, as storages of files, and the endpoints of files_support."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import httpx
import pytest
from fastapi import FastAPI
from files_support import Settings, Table, router
from kpi_kit.storage import Storage
from kpi_shared.app import build_service
from kpi_shared.database import Bounds, Database
from kpi_shared.files.storage import Files
from kpi_shared.testing.postgres import create_database
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from sqlalchemy import text

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
async def bucket(aws: str) -> AsyncIterator[Storage]:
    url = f"s3://{BUCKET}/stage/one?region=us-east-1&endpoint={quote(aws, safe='')}"
    async with Storage.from_url(url) as storage:
        yield storage
    client = boto3.client("s3", endpoint_url=aws)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Storage]:
    async with Storage.from_url((tmp_path / "files").as_uri()) as storage:
        yield storage


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found: Storage = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def files(storage: Storage) -> Files:
    return Files(storage, "sample")


@pytest.fixture(scope="module")
def settings() -> Settings:
    url = create_database(f"kpi_files_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    return Settings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secrets.token_hex(32)))


@pytest.fixture
async def app(settings: Settings, files: Files) -> AsyncIterator[FastAPI]:
    app = build_service(settings, title="Things", version="1", routers=[router], tags={})
    app.state.database = Database(settings, bounds=Bounds.of_requests(settings))
    app.state.files = files
    async with app.state.database.writing() as connection:
        await connection.run_sync(Table.metadata.drop_all)
        await connection.run_sync(Table.metadata.create_all)
        await connection.execute(text("INSERT INTO things DEFAULT VALUES"))
    yield app
    await app.state.database.close()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sample") as client:
        yield client


@pytest.fixture
def keys(files: Files) -> Callable[[], Any]:
    async def list_keys() -> list[str]:
        return [key async for keys in files.list_old(age=timedelta(seconds=-5)) for key in keys]

    return list_keys
