"""Stored hashes that ask for too much, or for something that is not known."""

import time

import pytest
from kpi_kit.hashing import CostlyHashError, HashFunctions, Parameters, RefusedPasswordError, UnknownHashError

FUNCTIONS = HashFunctions(Parameters(time_cost=1, memory_kib=8))
SALT_AND_DIGEST = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
BCRYPT = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
PBKDF2 = "seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="
# Each would take minutes to days, or gigabytes.
COSTLY = {
    "argon2 of 4 GiB": f"$argon2id$v=19$m=4194304,t=1,p=1${SALT_AND_DIGEST}",
    "argon2 of more than 32 bits": f"$argon2id$v=19$m=9999999999,t=1,p=1${SALT_AND_DIGEST}",
    "argon2 of four billion passes": f"$argon2i$v=19$m=8,t=4294967295,p=1${SALT_AND_DIGEST}",
    "argon2 of much memory and many passes": f"$argon2d$v=19$m=262144,t=100,p=1${SALT_AND_DIGEST}",
    "argon2 of a thousand threads": f"$argon2id$v=19$m=65536,t=1,p=1024${SALT_AND_DIGEST}",
    "argon2 in Django's form": f"argon2$argon2id$v=19$m=4194304,t=1,p=1${SALT_AND_DIGEST}",
    "bcrypt of cost 31": f"$2b$31${BCRYPT}",
    "bcrypt of cost 15": f"$2y$15${BCRYPT}",
    "bcrypt of cost 31 in Django's form": f"bcrypt_sha256$$2b$31${BCRYPT}",
    "PBKDF2 of a billion": f"pbkdf2_sha256$1000000000${PBKDF2}",
    "PBKDF2 of passlib": "$pbkdf2-sha256$2000001$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
    "PBKDF2 of Fastpy": f"$pbkdf2-sha256$999999999999${'0' * 32}${'0' * 64}",
}
UNKNOWN = {
    "nothing": "",
    "MD5": "5f4dcc3b5aa765d61d8327deb882cf99",
    "plain text": "hunter2!",
    "the mark of no password": "!unusable",
    "SHA-512 crypt": "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2x",
    "scrypt": "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "PBKDF2 with SHA-1": "pbkdf2_sha1$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
    "PBKDF2 of no iteration": f"pbkdf2_sha256$0${PBKDF2}",
    "PBKDF2 of digits that are not ASCII": f"pbkdf2_sha256$\uff11\uff10\uff10${PBKDF2}",
    "a short digest": "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
    "an unknown version": f"$argon2id$v=99$m=256,t=2,p=1${SALT_AND_DIGEST}",
    "a line break at the end": f"$2b$05${BCRYPT}\n",
    "a NUL": f"$2b$05${BCRYPT}\0",
    "a prefix of bcrypt": "$2b$05$CCCCCCCCCCCCCCCCCCCCC.",
    "bcrypt of cost 3": f"$2b$03${BCRYPT}",
    "bcrypt of cost 32": f"$2b$32${BCRYPT}",
    "an unknown variant": f"$2z$05${BCRYPT}",
    "a megabyte": "$2b$05$" + "." * 1_000_000,
    "another script": f"$2b$05${'é' * 53}",
}


@pytest.mark.parametrize("stored", COSTLY.values(), ids=COSTLY)
def test_a_hash_above_a_ceiling_is_refused_at_once(stored: str) -> None:
    began = time.thread_time()
    with pytest.raises(CostlyHashError, match="at most"):
        FUNCTIONS.verify("a password", stored)
    with pytest.raises(CostlyHashError):
        FUNCTIONS.check(stored)
    # Processor time of this thread: the cheapest of these hashes would need more than a second of it.
    assert time.thread_time() - began < 0.5
    assert FUNCTIONS.needs_rehash(stored)


@pytest.mark.parametrize("stored", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_form_is_refused(stored: str) -> None:
    with pytest.raises(UnknownHashError) as raised:
        FUNCTIONS.verify("a password", stored)
    assert not stored or stored not in str(raised.value)
    with pytest.raises(UnknownHashError):
        FUNCTIONS.check(stored)
    assert FUNCTIONS.find_family(stored) == "none"
    assert FUNCTIONS.needs_rehash(stored)


@pytest.mark.parametrize(
    "stored",
    [f"$argon2id$v=19$m=8,t=0,p=1${SALT_AND_DIGEST}", f"$argon2id$v=19$m=8,t=1,p=16${SALT_AND_DIGEST}"],
    ids=["no pass", "less memory than lanes"],
)
def test_a_hash_that_the_library_refuses_matches_nothing(stored: str) -> None:
    assert not FUNCTIONS.verify("a password", stored)


@pytest.mark.parametrize("password", ["\ud800secret", "x" * 4097], ids=["half a character", "too long"])
def test_a_password_that_cannot_be_hashed_matches_nothing_and_is_not_quoted(password: str) -> None:
    with pytest.raises(RefusedPasswordError) as raised:
        FUNCTIONS.make(password)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert not FUNCTIONS.verify(password, FUNCTIONS.make("another"))
