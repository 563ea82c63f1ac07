"""Addresses, and header fields that a value could add."""

import pytest
from kpi_kit.mail.addresses import read_mailbox


@pytest.mark.parametrize("text", ["nobody", "", "A <a@example.com>\r\nBcc: b@example.com", "a@", "@example.com"])
def test_a_sender_is_one_address(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        read_mailbox(text)
