"""Which ports the stack listens on: the gateway's is known to people, every other is a free one."""

import json
import secrets
import socket
from dataclasses import asdict, dataclass

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout

HOST = "127.0.0.1"
GATEWAY_PORT = 8000
ATTEMPTS = 100
_INNER_PORTS = range(20_000, 32_000)
# Where auth and content listen when people run them by hand: a gateway must not settle there by chance.
BY_HAND = (8001, 8002)


@dataclass(frozen=True)
class Ports:
    """The ports of one stack."""

    gateway: int
    auth: int
    content: int
    postgres: int
    # Where each part's GET /metrics answers; 0 in the note of a stack that had none.
    gateway_metrics: int = 0
    auth_metrics: int = 0
    content_metrics: int = 0

    def metrics_of(self, part: str) -> int:
        return {"gateway": self.gateway_metrics, "auth": self.auth_metrics, "content": self.content_metrics}[part]


# Any free one will do for these.
_INNER = ("auth", "content", "postgres", "gateway_metrics", "auth_metrics", "content_metrics")


def is_free(port: int) -> bool:
    """Whether a server could listen there now; ports of connections that just ended do not count as taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(layout: Layout, asked: int | None) -> tuple[Ports, str]:
    """Pick the ports and remember them; the text says what a person should know, or is empty."""
    remembered = recall(layout)
    gateway, said = (_asked(asked), "") if asked is not None else _gateway(remembered.get("gateway"))
    ports = _around(gateway, remembered)
    # A port that was asked for by name is for this start only; the next one without a name goes home again.
    _remember(layout, ports, gateway=gateway if asked is None else remembered.get("gateway"))
    return ports, said


def choose_without_gateway(layout: Layout) -> Ports:
    """Ports for a command that starts no gateway: what is remembered of that one stays as it is."""
    remembered = recall(layout)
    ports = _around(remembered.get("gateway", GATEWAY_PORT), remembered)
    _remember(layout, ports, gateway=remembered.get("gateway"))
    return ports


def _around(gateway: int, remembered: dict[str, int]) -> Ports:
    found = _free_ports([remembered.get(name, 0) for name in _INNER], gateway)
    return Ports(gateway=gateway, **dict(zip(_INNER, found, strict=True)))


def _remember(layout: Layout, ports: Ports, *, gateway: int | None) -> None:
    kept = asdict(ports) | {"gateway": gateway}
    layout.ports.write_text(json.dumps({name: port for name, port in kept.items() if port}) + "\n")


def recall(layout: Layout) -> dict[str, int]:
    """The ports of the last start; a missing or damaged file is no memory, not an error."""
    try:
        kept = json.loads(layout.ports.read_text())
        return {str(name): int(port) for name, port in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _asked(port: int) -> int:
    if not is_free(port):
        raise FailureError(
            "gateway",
            f"port {port} was asked for by name and is taken by another program",
            fix=f"take one that is free: make up GATEWAY_PORT={_any_free()}",
        )
    return port


def _gateway(remembered: int | None) -> tuple[int, str]:
    if remembered and is_free(remembered):
        return remembered, ""
    wanted = remembered or GATEWAY_PORT
    for port in range(GATEWAY_PORT, GATEWAY_PORT + ATTEMPTS):
        if port not in BY_HAND and is_free(port):
            return port, "" if port == wanted else _moved(wanted, port)
    raise FailureError(
        "gateway",
        f"no port from {GATEWAY_PORT} to {GATEWAY_PORT + ATTEMPTS - 1} is free",
        fix=f"take one that is free: make up GATEWAY_PORT={_any_free()}",
    )


def _moved(taken: int, port: int) -> str:
    return f"port {taken} is taken by another program: the gateway uses {port}, remembered for this checkout"


def _any_free() -> int:
    """A free port below those that the system gives to outgoing connections.

    One of those may be anybody's again before the part that it was chosen for has started.
    """
    return next(port for port in (secrets.choice(_INNER_PORTS) for _ in _INNER_PORTS) if is_free(port))


def _free_ports(preferred: list[int], gateway: int) -> list[int]:
    # The sockets stay open until all are chosen, so that the system cannot hand the same port out twice.
    found: list[int] = []
    opened: list[socket.socket] = []
    try:
        for port in preferred:
            probe = socket.socket()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.append(probe)
            while not port or port in {gateway, *found} or not is_free(port):
                port = _any_free()  # noqa: PLW2901 the preferred one gives way
            probe.bind((HOST, port))
            found.append(probe.getsockname()[1])
    finally:
        for probe in opened:
            probe.close()
    return found
