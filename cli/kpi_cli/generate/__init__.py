"""Code from a line on the terminal: ``kpi make``. What it writes is the developer's own from then on."""
