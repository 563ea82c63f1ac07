"""The cache in the memory of this process: `python -m kpi_kit.cache.usage`."""

import asyncio

from pydantic import BaseModel

from kpi_kit.cache import Cache


class Product(BaseModel):
    id: int
    name: str


async def read_product() -> Product:
    print("read from the database")
    return Product(id=7, name="lamp")


async def main() -> None:
    async with Cache.from_url("memory://?size=1000", stores={"sessions": "memory://"}) as cache:
        await cache.put("greeting", {"text": "hello"}, ttl=60)
        print(await cache.get("greeting"), await cache.has("greeting"))

        # Five who ask at the same time: one of them reads.
        asked = [
            cache.remember("product:7", read_product, as_type=Product, ttl=60, stale=600, tags=["products"])
            for _ in range(5)
        ]
        print(await asyncio.gather(*asked))
        await cache.invalidate("products")
        print(await cache.get("product:7", Product))

        print(await cache.increment("visits", ttl=60), await cache.decrement("visits"))
        async with cache.lock("report", lease=30, wait=0):
            print("only one at a time makes the report")
        await cache.store("sessions").put("12", "anna")
        await cache.flush()
        print(await cache.get("greeting"), await cache.store("sessions").get("12"))


if __name__ == "__main__":
    asyncio.run(main())
