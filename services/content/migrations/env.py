"""Runs Alembic on the content database."""

from kpi_content.authors import models as _authors  # noqa: F401 the import defines the table
from kpi_content.conversations import models as _conversations  # noqa: F401 as above
from kpi_content.idempotency import models as _idempotency  # noqa: F401 as above
from kpi_content.imports import models as _imports  # noqa: F401 as above
from kpi_content.inbox import models as _inbox  # noqa: F401 as above
from kpi_content.messages import models as _messages  # noqa: F401 as above
from kpi_content.posts import models as _posts  # noqa: F401 as above
from kpi_content.settings import PART
from kpi_content.tables import Table
from kpi_content.votes import models as _votes  # noqa: F401 as above
from kpi_shared.migrations import run_env

run_env(part=PART, metadata=Table.metadata)
