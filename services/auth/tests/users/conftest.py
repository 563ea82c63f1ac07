"""The accounts of most tests of users."""

import pytest
from auth_support import Account, Accounts


@pytest.fixture
async def anna(accounts: Accounts) -> Account:
    return await accounts.add("anna")


@pytest.fixture
async def root(accounts: Accounts) -> Account:
    return await accounts.add_admin()
