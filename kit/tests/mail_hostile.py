"""Values that would add a header field or a recipient to a mail that is composed without care."""

from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Any

from kpi_kit.mail import Attachment

EVE = "eve@evil.example"
_BREAKS = ["\r\n", "\n", "\r", "\r\n ", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
_INJECTIONS = [
    *(f"x{line_break}Bcc: {EVE}" for line_break in _BREAKS),
    f"x\r\n\r\n<script>{EVE}</script>",
    f"=?utf-8?q?x=0D=0ABcc:_{EVE.replace('@', '=40')}?=",
    f"=?utf-8?q?x=0ABcc:_{EVE.replace('@', '=40')}?=",
    "=?utf-8?b?eA0KQmNjOiBldmVAZXZpbC5leGFtcGxl?=",
    "=?iso-8859-1?q?x=0D?= =?iso-8859-1?q?=0ABcc:_eve=40evil.example?=",
    f"x\udc0d\udc0aBcc: {EVE}",
    "x\x1b[2J",
]
_QUOTE = "=?utf-8?q?x=22=0D=0AContent-Type:_text/html=0D=0A=0D=0APGI+SGk8L2I+?="
# The library drops the quotes of a name that it folds.
_LONG_NAMES = [
    f"{EVE}, {'x' * 70}",
    f"{EVE}, ä {'x' * 70}",
    f"{EVE}, {'Anna of the long name, ' * 3}",
    f"Anna ({EVE}) of a department with a name of many letters, and more",
    f"=?utf-8?q?x=0D=0ABcc:_{EVE.replace('@', '=40')}?=",
]
_ADDRESSES = [
    f"anna@example.com, {EVE}",
    f"anna@example.com; {EVE}",
    f"anna@example.com {EVE}",
    f"<anna@example.com> <{EVE}>",
    f"anna@example.com> <{EVE}",
    f"anna@example.com)({EVE}",
    f"anna@example.org){EVE}",
    f"friends: anna@example.com, {EVE};",
    f"Anna <anna@example.com> {EVE}",
    f'"anna@example.com <{EVE}',
    "anna@example.com> SIZE=1 <x",
    "anna",
    "anna@",
    "@example.com",
    "",
    "an na@example.com",
    "anna@exa mple.com",
    "anna\u2028@example.com",
]


@dataclass(frozen=True)
class Hostile:
    """Arguments of a message. ``also`` are the header fields that it may have beside the usual ones."""

    name: str
    arguments: dict[str, Any] = field(repr=False)
    also: frozenset[str] = frozenset()


def list_hostile() -> list[Hostile]:
    found = []
    for number, value in enumerate(_INJECTIONS):
        found += [
            Hostile(f"subject-{number}", {"subject": value}),
            Hostile(
                f"template-{number}", {"subject": None, "text": None, "template": "hello", "values": {"name": value}}
            ),
            Hostile(f"header-{number}", {"headers": {"X-Order": value}}, frozenset({"X-Order"})),
            Hostile(f"header-name-{number}", {"headers": {value: "x"}}),
            Hostile(f"file-{number}", {"attachments": [Attachment(value, b"x")]}),
            Hostile(f"media-type-{number}", {"attachments": [Attachment("x", b"x", f"text/{value}")]}),
            *(
                Hostile(f"{place}-{number}-{form}", {place: form.format(value)}, _allow(place))
                for place in ("to", "cc", "bcc", "reply_to", "sender")
                for form in ("{} <anna@example.com>", "anna@{}.example.com", "{}@example.com")
            ),
        ]
    for number, value in enumerate(_ADDRESSES):
        found += [
            Hostile(f"{place}-address-{number}", {place: value}, _allow(place))
            for place in ("to", "cc", "bcc", "reply_to", "sender")
        ]
    found += [
        Hostile(f"{place}-long-{number}", {place: str(Address(name, "anna", "example.com"))}, _allow(place))
        for place in ("to", "cc", "bcc", "reply_to", "sender")
        for number, name in enumerate(_LONG_NAMES)
    ]
    found += [
        Hostile(f"header-twice-{number}", {"headers": {"X-Order": "1", "x-order": value}}, frozenset({"X-Order"}))
        for number, value in enumerate(_INJECTIONS)
    ]
    found.append(Hostile("file-long", {"attachments": [Attachment(_QUOTE, b"x")]}))
    names = [
        "Bcc",
        "bcc",
        "To",
        "From",
        "Sender",
        "Content-Type",
        "Resent-Bcc",
        "Received",
        "Return-Path",
        "X:Bcc",
        "X Y",
    ]
    return [*found, *(Hostile(f"own-{name}", {"headers": {name: EVE}}) for name in ["", *names])]


def _allow(place: str) -> frozenset[str]:
    return frozenset({"Cc", "Reply-To"}) if place in {"cc", "reply_to"} else frozenset()
