"""The ``kpi`` command: run the platform, write code for it, and look after its data, keys and accounts."""

__version__ = "0.1.0"
# The name that kpi_shared.product has for the parts.
PRODUCT = "KPI-One"
