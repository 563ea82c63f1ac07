"""rediss:// encrypts, and talks only to a server whose certificate it can check."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kpi_kit.cache import Cache, CacheUnavailableError
from kpi_shared.testing.process import free_port, wait_until
from redis_support import PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server on this machine (Debian: redis-server)")


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    write_certificate(tmp_path)
    port = free_port()
    files = {"cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "cert.pem"}
    options = [text for name, file in files.items() for text in (f"--tls-{name}", str(tmp_path / file))]
    server = subprocess.Popen(
        [str(PROGRAM), "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--save", "", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    lines: list[str] = []
    wait_until(lambda: "Ready to accept" in (lines.append(server.stdout.readline()) or lines[-1]))
    yield port
    server.kill()
    server.communicate()


async def test_a_certificate_is_checked(port: int, tmp_path: Path) -> None:
    async with Cache.from_url(f"rediss://127.0.0.1:{port}/0?ca_file={tmp_path}/cert.pem") as cache:
        await cache.put("key", 1)
        assert await cache.get("key") == 1
    for url in (
        f"rediss://127.0.0.1:{port}/0",
        f"rediss://localhost:{port}/0?ca_file={tmp_path}/cert.pem",
        f"redis://127.0.0.1:{port}/0?timeout=1",
    ):
        async with Cache.from_url(url) as cache:
            with pytest.raises(CacheUnavailableError):
                await cache.get("key")
