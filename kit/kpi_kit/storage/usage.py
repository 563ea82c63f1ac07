"""Store a file, read it in chunks, list a folder, and move a file."""

import asyncio
from collections.abc import AsyncIterator

from kpi_kit.storage import AlreadyStoredError, PathError, Storage


async def upload() -> AsyncIterator[bytes]:
    yield b"\x89PNG\r\n\x1a\n"
    yield b"the rest of a picture"


async def main() -> None:
    url = "memory://?public_url=https%3A%2F%2Ffiles.example.com"  # or file:///var/lib/app/files, or s3://bucket/prefix
    async with Storage.from_url(url) as storage:
        stored = await storage.put("pictures/17", upload())
        print(f"stored {stored.size} bytes of {stored.content_type}")
        async with await storage.open("pictures/17") as file:
            print("read", [len(chunk) async for chunk in file])
        try:
            await storage.put("pictures/17", b"another", only_if_new=True)
        except AlreadyStoredError as error:
            print(error)
        await storage.move("pictures/17", "pictures/old/17")
        print("listed", [info.path async for info in storage.list("pictures")])
        print("clients find it at", storage.make_url("pictures/old/17"))
        try:
            await storage.get("../etc/passwd")
        except PathError as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
