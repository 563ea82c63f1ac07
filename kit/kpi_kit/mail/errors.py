"""The errors of mails. No text has an address, the content of a mail, or a long word that may be a code or a key."""

import re
from collections.abc import Collection, Mapping

from kpi_kit.errors import DriverUnavailableError, KitError

_MAX_REASON = 300
# A server that refuses a mail for its content may quote a link that contains a code.
# With the characters of base64, in which a password is sent.
_LONG_WORD = re.compile(r"(?=[\w+/=-]{24})[\w+/-]{22,}=*", re.ASCII)
_HIDDEN = "[...]"
_SHORTEST = 6


class MailError(KitError):
    """The base of the errors of mails."""


class MailSettingsError(MailError, ValueError):
    """The sender of a mailer is not a valid address, or the package of its templates cannot be found."""


class InvalidMessageError(MailError, ValueError):
    """The message cannot be sent as it is: an address or a header is not valid, or its template cannot be rendered."""


class NotSentError(MailError):
    """``reason`` is for operators; ``is_final`` means that the same call must not, or need not, be made again."""

    is_final = True

    def __init__(self, reason: str, *, secrets: Collection[str] = ()) -> None:
        self.reason = clean_reason(reason, secrets)
        super().__init__(self.reason)


class MailRefusedError(NotSentError):
    """The message or its recipient is refused: another attempt would fail in the same way."""


class MailUnavailableError(NotSentError, DriverUnavailableError):
    """The server could not be reached or did not accept the mail now. It may have the mail nevertheless."""

    is_final = False


class PartlySentError(NotSentError):
    """The mail was accepted for some recipients, so the same call would send it to these again.

    ``refused`` has the other recipients, each with its error; ``waiting`` are those that another attempt may reach.
    """

    def __init__(self, refused: Mapping[str, NotSentError]) -> None:
        self.refused = dict(refused)
        self.waiting = tuple(address for address, error in self.refused.items() if not error.is_final)
        first = next(iter(self.refused.values())).reason
        super().__init__(f"refused for {len(self.refused)} of the recipients, first with: {first}")


def build_not_sent(reason: str, *, is_final: bool, secrets: Collection[str] = ()) -> NotSentError:
    return (MailRefusedError if is_final else MailUnavailableError)(reason, secrets=secrets)


def clean_reason(reason: str, secrets: Collection[str] = ()) -> str:
    """One line of at most 300 characters, without ``secrets`` and long words."""
    for secret in secrets:
        # To hide a shorter one would say that it is the word at this place.
        reason = reason.replace(secret, _HIDDEN) if len(secret) >= _SHORTEST else reason
    words = "".join(character if character.isprintable() else " " for character in reason)
    return _LONG_WORD.sub(_HIDDEN, words)[:_MAX_REASON]
