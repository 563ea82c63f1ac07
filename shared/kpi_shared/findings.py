"""The findings of the command ``check``, which ``kpi doctor`` shows."""


def create_finding(check: str, *, ok: bool, detail: str, fix: str = "") -> dict[str, object]:
    """One check: its result and, if it failed, the command that fixes it."""
    return {"check": check, "ok": ok, "detail": detail, "fix": "" if ok else fix}
