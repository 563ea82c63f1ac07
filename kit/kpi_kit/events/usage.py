"""The event bus in this process: `python -m kpi_kit.events.usage`."""

import asyncio
import logging

from kpi_kit.events import Event, EventBus, listens


class UserCreated(Event):
    event_name = "user.created"
    user_id: int


class OrderCreated(Event):
    event_name = "order.created"
    order_id: int


class Statistics:
    @listens("*.created")
    async def count(self, event: Event) -> None:
        print("counted", event.event_name)

    @listens(OrderCreated)
    async def sum_up(self, event: OrderCreated) -> None:
        raise LookupError(f"no price for the order {event.order_id}")


async def greet(event: UserCreated) -> None:
    print("welcome", event.user_id)


async def main() -> None:
    logging.disable()
    async with EventBus.from_url("memory://", events=[UserCreated, OrderCreated]) as bus:
        bus.listen(UserCreated, greet)
        bus.subscribe(Statistics())
        await bus.dispatch(UserCreated(user_id=7))
        await bus.dispatch(OrderCreated(order_id=12))
        print(bus.failures[0])


if __name__ == "__main__":
    asyncio.run(main())
