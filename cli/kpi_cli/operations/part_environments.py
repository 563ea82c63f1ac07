"""With which settings a part is asked about itself: those of the shell, or else those of the local stack."""

import os

from kpi_cli.layout import Layout
from kpi_cli.parts import Part
from kpi_cli.stack import environments, local_database


def find(layout: Layout, part: Part) -> dict[str, str]:
    """As `kpi up` would start it, if this checkout has had a stack and the shell names no other installation."""
    if environments.names_database() or os.environ.get("AWS_SECRETS_ENABLED") or not layout.ports.exists():
        return dict(os.environ)
    return environments.environment(layout, part, local_database.known_ports(layout))


def is_given(name: str, environment: dict[str, str]) -> bool:
    """Whether a variable is the local stack's, and not the shell's."""
    return name in environment and environment[name] != os.environ.get(name)
