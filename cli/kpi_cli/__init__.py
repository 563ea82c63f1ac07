"""The ``kpi`` command: start the stack, load data, make keys, migrate."""

__version__ = "0.1.0"
