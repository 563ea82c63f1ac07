"""The drivers of ``crypt``: the first encrypts, and all decrypt what is stored."""

from kpi_kit.drivers import Driver

DRIVERS = (
    Driver(
        name="aes-256-gcm",
        purpose="AES-256-GCM with a ring of keys and associated data",
        module="kpi_kit.crypt.drivers.aes_gcm",
        extra="crypt",
        packages=("cryptography",),
    ),
    Driver(
        name="fernet",
        purpose="decrypts Fernet tokens, such as Fastpy's",
        module="kpi_kit.crypt.drivers.fernet",
        extra="crypt",
        packages=("cryptography",),
    ),
    Driver(
        name="aes-cbc",
        purpose="decrypts AES-CBC with HMAC-SHA256, the form of Fastpy's second encrypter and of Laravel",
        module="kpi_kit.crypt.drivers.aes_cbc",
        extra="crypt",
        packages=("cryptography",),
    ),
)
