"""The settings of the content service."""

from typing import ClassVar

from kpi_shared.parts import Part
from kpi_shared.settings import ServiceSettings

PART = Part(name="content", package="kpi_content", port=8002)


class ContentSettings(ServiceSettings):
    part: ClassVar[Part] = PART
