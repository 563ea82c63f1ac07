"""The configuration of import-linter, from the files of the house and of its services."""

from pathlib import Path

from kpi_shared.testing.check_imports import join_contracts


def test_every_service_is_in_the_lists_and_brings_its_contracts(tmp_path: Path) -> None:
    (tmp_path / ".importlinter").write_text("[importlinter]\nroot_packages =\n    kpi_shared\n    {services}\n")
    for name in ("shipping", "billing"):
        package = tmp_path / "services" / name / f"kpi_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (tmp_path / "services" / name / ".importlinter").write_text(f"[importlinter:contract:{name}]\n")
    (tmp_path / "services" / "left_over").mkdir()
    assert join_contracts(tmp_path) == (
        "[importlinter]\nroot_packages =\n    kpi_shared\n    kpi_billing\n    kpi_shipping\n\n"
        "[importlinter:contract:billing]\n\n[importlinter:contract:shipping]\n"
    )
