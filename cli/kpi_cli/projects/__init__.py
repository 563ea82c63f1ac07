"""Projects of one's own, made from this one: ``kpi new`` and ``kpi upgrade`` (ADR 54)."""
