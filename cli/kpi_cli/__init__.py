"""The ``kpi`` command: start the stack, load data, make keys, migrate."""

__version__ = "0.1.0"
# The name that kpi_shared.product has for the parts.
PRODUCT = "KPI-One"
