"""The pytest plugin of all parts: it starts one PostgreSQL for all workers."""

import gc
import os
import secrets
import signal
import sys
from collections.abc import Iterable

import pytest
from kpi_kit.settings import KitSettings

from kpi_shared.settings import ServiceSettings
from kpi_shared.testing.postgres import URL_VARIABLE, TestServer

_SETTINGS_OF_PARTS = (
    *("access_token_expire_minutes", "cors_origins", "routes", "upstreams"),
    *("argon2_memory_kib", "argon2_time_cost", "argon2_parallelism", "hash_workers", "hash_queue"),
    *("auth_secret_key", "auth_previous_secret_keys"),
    *("auth_internal_url", "feed_key", "revocation_silence_limit", "author_deletion"),
    *("listen_database_url", "upload_silence_timeout"),
    *("hash_patience", "search_places", "search_queue", "search_patience"),
    *("session_idle_days", "session_absolute_days", "session_limit", "refresh_grace_seconds", "failure_window"),
    *("failures_per_account_and_address", "failures_per_account", "failures_per_address", "mails_per_account"),
    *("mails_per_address", "registrations_per_address", "registration_tells_username", "registration_tells_email"),
    *("public_url", "mail_url", "mail_from", "mail_worker", "registration", "identity_providers", "trusted_proxies"),
    *("rate_limit_enabled", "rate_limit_requests", "rate_limit_window", "rate_limit_policies"),
    *("rate_limit_storage_url", "supabase_url", "supabase_jwt_secret"),
)
_SERVER = pytest.StashKey[TestServer]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Make the test helpers of every service importable; the setting ``pythonpath`` has no patterns."""
    sys.path[:0] = map(str, early_config.rootpath.glob("services/*/tests"))
    # Collecting creates millions of objects and next to no garbage: looking for it takes two fifths of the time.
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Resume garbage collection, which need not look at what lives until the end of the run."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs the tests in the background lets them ignore Ctrl-C, and with them each program that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _clear_settings([f"{folder.name}_url" for folder in config.rootpath.glob("services/*")])
    # A worker of pytest-xdist inherits the variable from its parent process.
    if not hasattr(config, "workerinput") and URL_VARIABLE not in os.environ and not config.option.collectonly:
        server = TestServer()
        config.stash[_SERVER] = server
        os.environ[URL_VARIABLE] = server.url


def _clear_settings(addresses: Iterable[str]) -> None:
    """Hide the settings of the developer's shell and of files in the checkout from the tests."""
    for name in [*ServiceSettings.model_fields, *KitSettings.model_fields, *_SETTINGS_OF_PARTS, *addresses]:
        os.environ.pop(name.upper(), None)
        os.environ.pop(f"{name.upper()}_FILE", None)
    os.environ["CONFIG_DIR"] = os.devnull


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVER in config.stash:
        config.stash[_SERVER].stop()
        del os.environ[URL_VARIABLE]


@pytest.fixture(scope="session")
def secret_key() -> str:
    """A PASETO key for this run."""
    return secrets.token_hex(32)


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """The name of this worker, for the names of its databases."""
    workerinput: dict[str, str] = getattr(request.config, "workerinput", {})
    return workerinput.get("workerid", "main")
