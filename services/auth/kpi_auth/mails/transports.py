"""The transport of mails that MAIL_URL names."""

from pathlib import Path

import structlog
from kpi_kit.mail.contract import Letter, Transport
from kpi_kit.mail.drivers.folder import FolderTransport
from kpi_kit.mail.targets import Folder
from kpi_kit.mail.urls import read_target
from pydantic import SecretStr

log = structlog.get_logger(__name__)


def build_transport(url: SecretStr) -> Transport:
    driver, target = read_target(url)
    if isinstance(target, Folder):
        return FolderTransport(target.path, report=_log_written)
    transport: Transport = driver.load().create_driver(target)
    return transport


def _log_written(path: Path, letter: Letter) -> None:
    log.info("mail written", path=str(path), template=letter.template)
