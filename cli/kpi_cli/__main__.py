"""``python -m kpi_cli`` is ``kpi``."""

from kpi_cli.main import main

main()
