"""Which ports the stack listens on: a well-known one for the gateway, and any free ones for the others."""

import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import GATEWAY, PARTS, SERVICES, Part

HOST = "127.0.0.1"
POSTGRES = "postgres"
ATTEMPTS = 100
_INNER_PORTS = range(20_000, 32_000)
# Where services listen when people run them alone: the gateway must not choose one of these.
RESERVED = tuple(service.port for service in SERVICES)


def _metrics_name(part: Part) -> str:
    return f"{part.name}_metrics"


def _internal_name(part: Part) -> str:
    return f"{part.name}_internal"


# Any free port will do for these.
_INNER = (
    *(service.name for service in SERVICES),
    POSTGRES,
    *(_metrics_name(part) for part in PARTS),
    *(_internal_name(part) for part in PARTS if part.has_internal_port),
)


@dataclass(frozen=True)
class Ports:
    """The ports of one stack by name: those of the parts, of their metrics, and of PostgreSQL.

    0 stands for a port that is not known, as in the state file of a stack whose command was older.
    """

    by_name: Mapping[str, int]

    @property
    def gateway(self) -> int:
        return self.of(GATEWAY)

    @property
    def postgres(self) -> int:
        return self.by_name.get(POSTGRES, 0)

    def of(self, part: Part) -> int:
        """Where a part serves."""
        return self.by_name.get(part.name, 0)

    def internal_of(self, part: Part) -> int:
        """Where a part serves the other parts alone."""
        return self.by_name.get(_internal_name(part), 0)

    def metrics_of(self, part: Part) -> int:
        """Where a part's GET /metrics is served."""
        return self.by_name.get(_metrics_name(part), 0)


def is_free(port: int) -> bool:
    """Whether a server could listen there now; a port whose connections have just been closed is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(layout: Layout, explicit: int | None) -> tuple[Ports, str]:
    """Choose the ports and remember them; the text is a notice for the operator, or empty."""
    remembered = recall(layout)
    if explicit is None:
        gateway, notice = _choose_gateway(remembered.get(GATEWAY.name))
    else:
        gateway, notice = _check_explicit(explicit), ""
    ports = _choose_inner(gateway, remembered)
    # A port that was set explicitly is for this start only; the next start without one uses the remembered port.
    _remember(layout, ports, gateway=gateway if explicit is None else remembered.get(GATEWAY.name))
    return ports, notice


def choose_without_gateway(layout: Layout) -> Ports:
    """Ports for a command that starts no gateway: its remembered port stays as it is."""
    remembered = recall(layout)
    ports = _choose_inner(remembered.get(GATEWAY.name, GATEWAY.port), remembered)
    _remember(layout, ports, gateway=remembered.get(GATEWAY.name))
    return ports


def _choose_inner(gateway: int, remembered: dict[str, int]) -> Ports:
    found = _find_free([remembered.get(name, 0) for name in _INNER], gateway)
    return Ports({GATEWAY.name: gateway, **dict(zip(_INNER, found, strict=True))})


def _remember(layout: Layout, ports: Ports, *, gateway: int | None) -> None:
    kept = {**ports.by_name, GATEWAY.name: gateway}
    layout.ports.write_text(json.dumps({name: port for name, port in kept.items() if port}) + "\n")


def recall(layout: Layout) -> dict[str, int]:
    """The ports of the last start; a missing or damaged file means that none are known."""
    try:
        kept = json.loads(layout.ports.read_text())
        return {str(name): int(port) for name, port in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _check_explicit(port: int) -> int:
    if not is_free(port):
        raise FailureError(
            GATEWAY.name,
            f"port {port} was set explicitly and is in use by another program",
            fix=f"choose a free one: make up GATEWAY_PORT={_pick_free()}",
        )
    return port


def _choose_gateway(remembered: int | None) -> tuple[int, str]:
    if remembered and is_free(remembered):
        return remembered, ""
    wanted = remembered or GATEWAY.port
    for port in range(GATEWAY.port, GATEWAY.port + ATTEMPTS):
        if port not in RESERVED and is_free(port):
            return port, "" if port == wanted else _moved_notice(wanted, port)
    raise FailureError(
        GATEWAY.name,
        f"no port from {GATEWAY.port} to {GATEWAY.port + ATTEMPTS - 1} is free",
        fix=f"choose a free one: make up GATEWAY_PORT={_pick_free()}",
    )


def _moved_notice(wanted: int, port: int) -> str:
    return f"port {wanted} is in use by another program: the gateway uses {port}, remembered for this checkout"


def _pick_free() -> int:
    """A free port below those that the system gives to outgoing connections.

    One of those could be in use again before the part that it was chosen for has started.
    """
    return next(port for port in (secrets.choice(_INNER_PORTS) for _ in _INNER_PORTS) if is_free(port))


def _find_free(preferred: list[int], gateway: int) -> list[int]:
    # The sockets stay open until all are chosen, so that the system cannot hand the same port out twice.
    found: list[int] = []
    probes: list[socket.socket] = []
    try:
        for port in preferred:
            probe = socket.socket()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probes.append(probe)
            while not port or port in {gateway, *found} or not is_free(port):
                port = _pick_free()  # noqa: PLW2901 the preferred port is not available
            probe.bind((HOST, port))
            found.append(probe.getsockname()[1])
    finally:
        for probe in probes:
            probe.close()
    return found
