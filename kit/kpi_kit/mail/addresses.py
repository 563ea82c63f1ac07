"""Read addresses strictly: what another program could read in another way is refused."""

from contextlib import suppress
from email.errors import (
    MessageError,
    NonASCIILocalPartDefect,
    ObsoleteHeaderDefect,
)
from email.headerregistry import Address, AddressHeader, BaseHeader
from email.policy import SMTP
from typing import cast

# Letters of other scripts need a server with SMTPUTF8, and a name with a dot, as in "A. B. <a@example.com>", is common.
_HARMLESS = (NonASCIILocalPartDefect, ObsoleteHeaderDefect)
# The library's parser raises all of these for texts that it cannot read.
_NOT_READ = (MessageError, ValueError, IndexError, AttributeError, TypeError)
_EXAMPLE = "an address such as KPI-One <no-reply@example.com> is needed"


def read_mailbox(text: str) -> Address:
    """The address in ``Name <name@example.com>`` or ``name@example.com``; ValueError for anything else."""
    # The parser decodes encoded words, so a name that is printable as it is given may have line breaks afterwards.
    with suppress(*_NOT_READ):
        found = _parse(text)
        if found is not None and found.display_name.isprintable() and found.username and found.domain:
            return Address(found.display_name, found.username, _encode_domain(found))
    raise ValueError(_EXAMPLE)


def read_address(text: str) -> Address:
    """The address in ``name@example.com``; ValueError for anything else."""
    with suppress(*_NOT_READ):
        found = _parse(text)
        if found is not None and found.addr_spec == text:
            return read_mailbox(text)
    raise ValueError("an address such as anna@example.com is needed")


def _parse(text: str) -> Address | None:
    if not text.isprintable():
        return None
    # The class that the factory builds is both.
    header = cast("AddressHeader", SMTP.header_factory("To", text))
    if any(not isinstance(defect, _HARMLESS) for defect in cast("BaseHeader", header).defects):
        return None
    is_plain = len(header.addresses) == 1 and header.groups[0].display_name is None
    return header.addresses[0] if is_plain else None


def _encode_domain(address: Address) -> str:
    """Every server accepts the ASCII form of a domain (RFC 5891); the part before the @ may have no such form."""
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 of the extra, which a reader lacks

    with suppress(EmailNotValidError):
        # An address that was accepted before is not validated again; the mail server decides.
        checked = validate_email(address.addr_spec, check_deliverability=False, test_environment=True)
        return checked.ascii_domain or address.domain
    return address.domain
