"""What ``check`` reports of a part, for ``kpi doctor`` to show."""


def create_finding(check: str, *, ok: bool, detail: str, fix: str = "") -> dict[str, object]:
    """One thing that was looked at: what was found and, where it is wrong, the command that mends it."""
    return {"check": check, "ok": ok, "detail": detail, "fix": "" if ok else fix}
