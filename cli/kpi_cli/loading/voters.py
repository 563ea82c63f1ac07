"""Chooses the voters of a post: distinct, evenly spread over all users, and the same in every run."""

from hashlib import sha256
from math import gcd


def choose(post_id: int, count: int, size: int) -> list[int]:
    """``count`` distinct positions below ``size`` for a post; needs ``count <= size``.

    They are an arithmetic progression modulo ``size``. A step without a common divisor with ``size`` visits every
    position once before it repeats one, so they are distinct without any bookkeeping. Start and step come from a hash
    of the post's id, and so depend neither on Python's hash seed nor on its random module.
    """
    digest = sha256(str(post_id).encode()).digest()
    start = int.from_bytes(digest[:8], "big") % size
    step = 1 + int.from_bytes(digest[8:16], "big") % size
    while gcd(step, size) != 1:
        step += 1
    return [(start + turn * step) % size for turn in range(count)]
