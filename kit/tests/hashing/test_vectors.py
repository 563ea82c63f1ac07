"""Hashes that other systems and each library's own tests have published."""

import hashlib

import bcrypt
import pytest
from kpi_kit.hashing import Ceilings, HashFunctions, Parameters

FUNCTIONS = HashFunctions(Parameters(time_cost=1, memory_kib=8))

# (family, password, stored hash)
VECTORS = {
    # The bcrypt library's own, of which the 2a ones are those of OpenBSD and Solar Designer's crypt_blowfish.
    "bcrypt 2b": ("bcrypt", "Kk4DQuMMfZL9o", "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"),
    "bcrypt 2a": ("bcrypt", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    "bcrypt 2a, longer": ("bcrypt", "U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
    "bcrypt 2x": ("bcrypt", "U*U", "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    "bcrypt 2y of PHP": ("bcrypt", "rasmuslerdorf", "$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq"),
    # The README of the reference implementation of argon2, and its test vectors of versions 16 and 19.
    "argon2i": (
        "argon2id",
        "password",
        "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    ),
    "argon2i, version 16": (
        "argon2id",
        "password",
        "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
    ),
    "argon2id": (
        "argon2id",
        "password",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    ),
    # Django's tests.
    "Django": ("pbkdf2", "lètmein", "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="),
    # passlib's documentation.
    "passlib": (
        "pbkdf2",
        "password",
        "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
    ),
}


@pytest.mark.parametrize(("family", "password", "stored"), VECTORS.values(), ids=VECTORS)
def test_a_published_hash_matches_its_password_and_no_other(family: str, password: str, stored: str) -> None:
    assert FUNCTIONS.find_family(stored) == family
    assert FUNCTIONS.verify(password, stored)
    assert not FUNCTIONS.verify(f"{password}x", stored)
    assert FUNCTIONS.needs_rehash(stored)


def test_the_form_of_fastpy_has_a_salt_of_text_and_a_hexadecimal_digest() -> None:
    salt = "00112233445566778899aabbccddeeff"
    digest = hashlib.pbkdf2_hmac("sha256", b"hunter2!", salt.encode(), 1000).hex()
    stored = f"$pbkdf2-sha256$1000${salt}${digest}"
    assert FUNCTIONS.find_family(stored) == "pbkdf2"
    assert FUNCTIONS.verify("hunter2!", stored)
    assert not FUNCTIONS.verify("hunter3!", stored)


def test_the_names_that_django_writes_before_a_hash_are_understood() -> None:
    plain = bcrypt.hashpw(b"old password", bcrypt.gensalt(4)).decode()
    assert FUNCTIONS.verify("old password", f"bcrypt${plain}")
    digest = hashlib.sha256(("x" * 100).encode()).hexdigest().encode()
    digested = f"bcrypt_sha256${bcrypt.hashpw(digest, bcrypt.gensalt(4)).decode()}"
    assert FUNCTIONS.verify("x" * 100, digested)
    assert not FUNCTIONS.verify("x" * 99, digested)
    assert FUNCTIONS.verify("old password", f"argon2{FUNCTIONS.make('old password')}")


@pytest.mark.parametrize("length", [71, 72, 73, 300])
def test_bcrypt_reads_72_bytes_of_a_password_as_the_older_systems_did(length: int) -> None:
    password = "é" * length
    stored = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    assert FUNCTIONS.verify(password, stored)
    assert FUNCTIONS.verify(password[:36], stored)
    assert not FUNCTIONS.verify(password[:35], stored)


def test_what_it_makes_is_argon2id_with_the_parameters_and_a_salt_of_its_own() -> None:
    functions = HashFunctions(Parameters(time_cost=3, memory_kib=64, parallelism=2))
    first, second = functions.make("a password"), functions.make("a password")
    assert first.startswith("$argon2id$v=19$m=64,t=3,p=2$")
    assert first != second
    assert functions.verify("a password", first)
    assert not functions.needs_rehash(first)
    assert FUNCTIONS.needs_rehash(first)


def test_the_ceilings_allow_what_the_parameters_make() -> None:
    functions = HashFunctions(
        Parameters(memory_kib=64, time_cost=2, parallelism=4),
        ceilings=Ceilings(memory_kib=8, memory_kib_times_passes=8, lanes=1),
    )
    assert functions.verify("a password", functions.make("a password"))
