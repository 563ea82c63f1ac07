"""The drivers of ``hashing``: the first makes hashes, and all verify those that are stored."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="argon2id",
        purpose="argon2id for new passwords; argon2id, argon2i and argon2d are verified",
        module="kpi_kit.hashing.drivers.argon2id",
        forms={"argon2id": "argon2id://?time_cost=3&memory_kib=65536&parallelism=1"},
        options=("time_cost", "memory_kib", "parallelism", "workers", "waiting"),
        extra="hashing",
        packages=("argon2",),
    ),
    Driver(
        name="bcrypt",
        purpose="verifies bcrypt of older systems: $2a$, $2b$, $2y$, and Django's bcrypt$ and bcrypt_sha256$",
        module="kpi_kit.hashing.drivers.bcrypt",
        extra="hashing",
        packages=("bcrypt",),
    ),
    Driver(
        name="pbkdf2",
        purpose="verifies PBKDF2-SHA256 of older systems: Django's, passlib's and Fastpy's form",
        module="kpi_kit.hashing.drivers.pbkdf2",
    ),
)
