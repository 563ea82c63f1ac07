"""The services of a checkout, found by their folders."""

from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.specs import ServiceSpec


def find_services(checkout: Path) -> dict[str, ServiceSpec]:
    """All services by their names; a service is a folder with a package that is named after it."""
    found = {}
    for folder in sorted((checkout / "services").glob("*")):
        package = f"kpi_{folder.name}"
        if (folder / package / "__init__.py").is_file():
            found[folder.name] = ServiceSpec(
                name=folder.name,
                package=package,
                folder=f"services/{folder.name}",
                has_authors=(folder / package / "authors" / "repository.py").is_file(),
            )
    return found


def get_service(checkout: Path, name: str) -> ServiceSpec:
    """FailureError with exit code 2 if there is none of that name."""
    services = find_services(checkout)
    if name not in services:
        sentence = f"there is no service {name!r}; the services are {', '.join(services)}"
        raise FailureError("make", sentence, fix=f"kpi make service {name} makes one", code=2)
    return services[name]
