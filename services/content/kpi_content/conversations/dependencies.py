"""What endpoints about conversations take from the request."""

from typing import Annotated

from fastapi import Path
from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal

ConversationId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
