"""Verify a hash that an older system stored, and replace it."""

import asyncio

from kpi_kit.hashing import HashFake, UnknownHashError

# What bcrypt stored for "U*U". A service uses Hasher.from_url(settings.hashing_url) where the fake is here.
STORED = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


async def main() -> None:
    async with HashFake() as hasher:
        stored = STORED
        if await hasher.verify("U*U", stored) and hasher.needs_rehash(stored):
            stored = await hasher.make("U*U")
        print("stored now:", stored.split("$")[1])
        print("still verified:", await hasher.verify("U*U", stored))
        try:
            await hasher.verify("U*U", "5f4dcc3b5aa765d61d8327deb882cf99")
        except UnknownHashError as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
