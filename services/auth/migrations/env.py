"""The environment in which Alembic migrates the auth database."""

# Importing these modules registers their tables.
from kpi_auth.accounts import models as _users  # noqa: F401
from kpi_auth.api_keys import models as _api_keys  # noqa: F401
from kpi_auth.attempts import models as _attempts  # noqa: F401
from kpi_auth.audit import models as _audit  # noqa: F401
from kpi_auth.bootstrap import models as _bootstrap  # noqa: F401
from kpi_auth.codes import models as _codes  # noqa: F401
from kpi_auth.events import models as _events  # noqa: F401
from kpi_auth.idempotency import models as _idempotency  # noqa: F401
from kpi_auth.identities import models as _identities  # noqa: F401
from kpi_auth.mails import models as _mails  # noqa: F401
from kpi_auth.outlets import models as _outlets  # noqa: F401
from kpi_auth.sessions import models as _sessions  # noqa: F401
from kpi_auth.settings import PART
from kpi_auth.tables import Table
from kpi_auth.token_keys import models as _token_keys  # noqa: F401
from kpi_auth.webhooks import models as _webhooks  # noqa: F401
from kpi_shared.migrations import run_env

run_env(part=PART, metadata=Table.metadata)
