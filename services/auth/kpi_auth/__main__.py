"""The program ``python -m kpi_auth``: serves the API or runs a command of operators."""

import sys

import kpi_shared.server.swift_start  # noqa: F401 before all that takes long to import
from kpi_shared.server.runner import main

from kpi_auth.api_keys.console import create_api_key, list_api_keys, revoke_api_key, rotate_api_key
from kpi_auth.audit.console import verify_audit
from kpi_auth.bootstrap.console import bootstrap
from kpi_auth.events.console import show_status
from kpi_auth.imports.console import import_accounts
from kpi_auth.outlets.console import show_outlets
from kpi_auth.settings import PART, AuthSettings
from kpi_auth.token_keys.console import manage_keys
from kpi_auth.users.console import check_new_user, check_user, create_user, list_users, reset_password
from kpi_auth.users.imports import import_users

COMMANDS = {
    "import-users": import_users,
    "import-accounts": import_accounts,
    "check-new-user": check_new_user,
    "check-user": check_user,
    "create-user": create_user,
    "reset-password": reset_password,
    "list-users": list_users,
    "bootstrap": bootstrap,
    "create-api-key": create_api_key,
    "list-api-keys": list_api_keys,
    "rotate-api-key": rotate_api_key,
    "revoke-api-key": revoke_api_key,
    "verify-audit": verify_audit,
    "events-status": show_status,
    "show-outlets": show_outlets,
    "keys": manage_keys,
}

if __name__ == "__main__":
    sys.exit(main(PART, AuthSettings, commands=COMMANDS))
