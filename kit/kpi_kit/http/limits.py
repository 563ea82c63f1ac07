"""The limits of a client."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times are in seconds."""

    # To connect, also to wait for a free connection; and the longest silence while a request or response is on its way.
    connect: float = 2.0
    silence: float = 5.0
    # One deadline for a whole call: all attempts, the waits between them, and the body of the response.
    total: float = 10.0

    # Attempts in all, of requests that may be repeated. The wait before the second one is the first, the next is twice
    # as long, up to the longest; each is up to ``jitter`` longer, so that many clients do not come back at once.
    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 2.0
    jitter: float = 0.2

    # After so many failures in a row nothing is sent for a while; then one request tries whether it works again.
    open_after: int = 5
    open_for: float = 10.0

    max_body_bytes: int = 10 * 1024 * 1024
    max_connections: int = 100
