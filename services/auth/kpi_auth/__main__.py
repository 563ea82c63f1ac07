"""The program ``python -m kpi_auth``: serves the API or runs a command of operators."""

import sys

import kpi_shared.server.swift_start  # noqa: F401 before all that takes long to import
from kpi_shared.server.runner import main

from kpi_auth.settings import PART, AuthSettings

COMMANDS = {
    "import-users": "kpi_auth.users.imports:import_users",
    "import-accounts": "kpi_auth.imports.console:import_accounts",
    "check-new-user": "kpi_auth.users.console:check_new_user",
    "check-user": "kpi_auth.users.console:check_user",
    "create-user": "kpi_auth.users.console:create_user",
    "reset-password": "kpi_auth.users.console:reset_password",
    "list-users": "kpi_auth.users.console:list_users",
    "bootstrap": "kpi_auth.bootstrap.console:bootstrap",
    "create-api-key": "kpi_auth.api_keys.console:create_api_key",
    "list-api-keys": "kpi_auth.api_keys.console:list_api_keys",
    "rotate-api-key": "kpi_auth.api_keys.console:rotate_api_key",
    "revoke-api-key": "kpi_auth.api_keys.console:revoke_api_key",
    "verify-audit": "kpi_auth.audit.console:verify_audit",
    "events-status": "kpi_auth.events.console:show_status",
    "show-outlets": "kpi_auth.outlets.console:show_outlets",
    "keys": "kpi_auth.token_keys.console:manage_keys",
}

if __name__ == "__main__":
    sys.exit(main(PART, AuthSettings, commands=COMMANDS))
