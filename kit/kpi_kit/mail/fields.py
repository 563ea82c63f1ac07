"""Write header fields, and read them back: Python 3.11 drops the quotes of a long name, so a comma ends the address.

Encoded words (RFC 2047) need no quotes, so each name that is long or has more than plain letters is written as such.
"""

import re
from collections.abc import Iterable, Sequence
from email import message_from_bytes
from email.charset import QP, Charset
from email.header import Header
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from email.policy import Policy

# With its address it has a line of its own.
_MAX_PLAIN = 64
# RFC 5322, 2.1.1, without the line end.
_MAX_LINE = 998
_BETWEEN_WORDS = re.compile(r"\?=\s+=\?utf-8\?q\?")
_WORDS = Charset("utf-8")
_WORDS.header_encoding = QP
_ADDRESS_FIELDS = ("From", "To", "Cc", "Reply-To")


class FieldPolicy(EmailPolicy):
    """As ``email.policy.SMTP``, but a field of addresses has one address in each line."""

    def fold(self, name: str, value: Any) -> str:  # noqa: ANN401 the library's
        written = self._write(name, value)
        return super().fold(name, value) if written is None else written

    def fold_binary(self, name: str, value: Any) -> bytes:  # noqa: ANN401 the library's
        written = self._write(name, value)
        return super().fold_binary(name, value) if written is None else written.encode()

    def header_fetch_parse(self, name: str, value: str) -> Any:  # noqa: ANN401 the library's
        """The library reads bytes outside ASCII as surrogates, and puts a space between two encoded words of a name."""
        if not hasattr(value, "name"):
            value = _BETWEEN_WORDS.sub("", value.encode(errors="surrogateescape").decode(errors="replace"))
        return super().header_fetch_parse(name, value)

    def _write(self, name: str, value: object) -> str | None:
        if not isinstance(value, AddressHeader):
            return None
        addresses = value.addresses
        if not self.utf8 and not all(address.addr_spec.isascii() for address in addresses):
            return None
        lines = f",{self.linesep} ".join(_write_address(address, self.linesep) for address in addresses)
        return f"{name}: {lines}{self.linesep}"


POLICY = FieldPolicy(linesep="\r\n")
POLICY_UTF8 = POLICY.clone(utf8=True)
# Fields that were read are written as they came.
_READ = POLICY.clone(refold_source="none")


def read_message(raw: bytes) -> EmailMessage:
    """The message that gives these bytes again."""
    headers, _, _ = raw.partition(b"\r\n\r\n")
    return _parse(raw, _READ if headers.isascii() else _READ.clone(utf8=True))


def _parse(raw: bytes, policy: FieldPolicy) -> EmailMessage:
    # Without an argument for the type of the message, which is only in the stubs, the checker takes it for another.
    return message_from_bytes(raw, policy=cast("Policy[EmailMessage]", policy))


def check_fields(message: EmailMessage, **addresses: Sequence[Address]) -> None:
    """ValueError if a reader finds other fields, addresses or names of files than those that were set."""
    for part in message.walk():
        raw = b"".join(message.policy.fold_binary(*item) for item in part.raw_items())
        found = _parse(raw + b"\r\n", _READ)
        if found.keys() != part.keys() or found.get_payload() or found.get_filename() != part.get_filename():
            raise ValueError("a part of the mail would be read as another header field")
        if any(len(line) > _MAX_LINE for line in raw.splitlines()):
            raise ValueError("a header field has a line that is too long")
        if part is message:
            _check_addresses(found, addresses.values())


def _check_addresses(found: EmailMessage, expected: Iterable[Sequence[Address]]) -> None:
    for name, addresses in zip(_ADDRESS_FIELDS, expected, strict=True):
        header = found[name]
        read = [address.addr_spec for address in (header.addresses if header else ())]
        if read != [address.addr_spec for address in addresses]:
            raise ValueError("the name of an address would be read as another address")


def _write_address(address: Address, linesep: str) -> str:
    name = address.display_name
    if not name:
        return address.addr_spec
    if name.isascii() and len(name) <= _MAX_PLAIN and "=?" not in name:
        return str(address)
    return f"{Header(name, _WORDS, header_name='Reply-To').encode(linesep=linesep)}{linesep} <{address.addr_spec}>"
