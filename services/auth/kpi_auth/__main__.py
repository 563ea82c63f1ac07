"""``python -m kpi_auth``."""

import sys

from kpi_shared.runner import main

from kpi_auth.settings import PART, AuthSettings
from kpi_auth.users.imports import import_users

if __name__ == "__main__":
    sys.exit(main(PART, AuthSettings, commands={"import-users": import_users}))
