"""How ``http`` is used: against a service that is not there."""

import asyncio

from pydantic import BaseModel

from kpi_kit.http import HttpFake, StatusError


class Article(BaseModel):
    id: int
    title: str


async def main() -> None:
    # In a service: HttpClient.from_url("https://stock.example.com/v1").
    async with HttpFake() as http:
        http.answer("GET", "/articles/7", json={"id": 7, "title": "Lamp"})
        print(await http.get_json("/articles/7", Article))

        # Two attempts fail; a GET is sent again, and so is a POST that has a key for it.
        http.fail("POST", "/orders")
        http.answer("POST", "/orders", status=503)
        http.answer("POST", "/orders", status=201, json={"number": 12})
        order = {"article": 7, "pieces": 2}
        print(await http.with_token("secret").post_json("/orders", order, idempotency_key="cart-77"))
        http.assert_sent("POST", "/orders", json=order, headers={"Authorization": "Bearer secret"}, times=3)

        http.answer("GET", "/articles/8", status=404)
        try:
            await http.get_json("/articles/8", Article)
        except StatusError as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main())
