"""The gateways that are measured, each a program in front of one upstream; their files are in bench/peers/gateway."""

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kpi_shared.caller import Role
from kpi_shared.tokens import KeyRing, TokenCodec

from kpi_bench.options import PEERS
from kpi_bench.processes import LOAD_CORE, Program, free_port

OURS = "KPI-One"
USUAL = "FastAPI + httpx"
FOLDER = PEERS / "gateway"

# 700 bytes, about the size of a list of three short posts.
BODY = json.dumps({"items": [{"id": number, "title": "A title " * 8, "body": "x" * 130} for number in range(3)]})
BODY = BODY[:-2] + " " * (700 - len(BODY)) + BODY[-2:]

# The gateway's default body limit is far below the 1 GiB that is sent through it here.
_BODY_LIMIT = 2**31
_KEY = secrets.token_bytes(32)


@dataclass(frozen=True)
class Place:
    """Where one gateway runs: its own port, its upstream's port, and a folder for its files."""

    port: int
    upstream: int
    work: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/posts"


def upstream(place: Place) -> Program:
    path = _write_config("upstream.conf", place)
    return Program(["nginx", "-c", str(path)], environment=_SYSTEM, core=LOAD_CORE)


def _ours(place: Place) -> Program:
    """All features are enabled, as in production; the limits are too high for the load to reach."""
    address = f"http://127.0.0.1:{place.upstream}"
    environment = {
        "APP_ENV": "production",
        "CONFIG_DIR": str(place.work),
        "CONTENT_URL": address,
        "AUTH_URL": address,
        "RATE_LIMIT_ENABLED": "true",
        "RATE_LIMIT_REQUESTS": "1000000",
        "RATE_LIMIT_WINDOW": "1",
        "PASETO_SECRET_KEY": _KEY.hex(),
        "METRICS_PORT": str(free_port()),
        "BODY_LIMIT": str(_BODY_LIMIT),
        "UPSTREAM_TOTAL_TIMEOUT": "600",
    }
    return Program([sys.executable, "-m", "kpi_gateway", "--port", str(place.port)], environment=environment)


def tokens(count: int) -> list[str]:
    """Tokens of ``count`` users; our gateway opens them, so that each has a limit of its own."""
    codec = TokenCodec(KeyRing.local(_KEY), issuer="kpi-one", audience="kpi-one")
    return [
        codec.mint(user_id=number, username=f"u{number}", role=Role.USER, session_id="1", lifetime=timedelta(hours=1))
        for number in range(1, count + 1)
    ]


def _nginx(place: Place) -> Program:
    return Program(["nginx", "-c", str(_write_config("nginx.conf", place))], environment=_SYSTEM)


def _haproxy(place: Place) -> Program:
    return Program(["haproxy", "-db", "-f", str(_write_config("haproxy.cfg", place))], environment=_SYSTEM)


def _caddy(place: Place) -> Program:
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(_write_config("Caddyfile", place))]
    return Program(command, environment={"GOMAXPROCS": "1", "HOME": str(place.work)})


def _node(script: str) -> Callable[[Place], Program]:
    def program(place: Place) -> Program:
        environment = {"NODE_ENV": "production", "PORT": str(place.port), "UPSTREAM": str(place.upstream)}
        return Program(["node", script], environment=environment, folder=FOLDER)

    return program


def _usual(place: Place) -> Program:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "usual_fastapi:app", "--port", str(place.port), *options]
    return Program(command, environment={"UPSTREAM": str(place.upstream)}, folder=FOLDER)


GATEWAYS: dict[str, Callable[[Place], Program]] = {
    OURS: _ours,
    "nginx": _nginx,
    "haproxy": _haproxy,
    "Caddy": _caddy,
    "Fastify": _node("fastify.js"),
    "Express": _node("express.js"),
    USUAL: _usual,
}

# Debian installs nginx and haproxy in a folder that only root has in its PATH.
_SYSTEM = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def _write_config(name: str, place: Place) -> Path:
    """Write the configuration with the ports and folders of this run."""
    text = (FOLDER / name).read_text()
    words = {"PORT": str(place.port), "UPSTREAM": str(place.upstream), "WORK": str(place.work), "BODY": BODY}
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    place.work.mkdir(parents=True, exist_ok=True)
    path = place.work / name
    path.write_text(text)
    return path
