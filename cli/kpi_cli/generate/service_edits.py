"""The rows and the block by which the platform knows a service."""

from kpi_cli.generate import editing
from kpi_cli.generate.editing import AnchorError
from kpi_cli.generate.rendering import render
from kpi_cli.parts import Part


def add_part(source: str, part: Part) -> str:
    """Its row in the command's table of parts, behind the last service."""
    row = (
        f'Part(name="{part.name}", package="{part.package}", folder="{part.folder}", port={part.port},'
        f" colour={part.colour}, uid={part.uid}, has_database=True, needs_token_key=True, follows_events=True,)"
    )
    return editing.add_to_list(source, "PARTS", row, after="has_database=True")


def add_address(source: str, part: Part) -> str:
    """Its address in the gateway's settings."""
    if f"\n    {part.name}_url: " in source:
        return source
    title = part.name.replace("_", " ").capitalize()
    default = f'default=("http://127.0.0.1:{part.port}",), description="{title}\'s, in the same form."'
    return _insert_before(
        source,
        "\n    @property\n    def service_urls",
        f"    {part.name}_url: UpstreamUrls = Field({default})\n",
    )


def add_containers(source: str, part: Part) -> str:
    """Its block in docker-compose.yml, before the gateway's, which waits for it and gets its address."""
    if f"\n  {part.name}:\n" in source:
        return source
    block = render("service/containers.yml.j2", name=part.name)
    source = _insert_before(source, "  gateway:\n    <<: *service\n", block)
    head, gateway, tail = source.partition("  gateway:\n    <<: *service\n")
    tail = _insert_before(
        tail,
        "      keys: {condition: service_completed_successfully}\n",
        f"      {part.name}: {{condition: service_healthy}}\n",
    )
    tail = _insert_before(
        tail,
        "      AUTH_INTERNAL_URL: http://auth:8011\n",
        f"      {part.url_variable}: http://{part.name}:{part.port}\n",
    )
    return head + gateway + tail


def add_to_table(source: str, part: Part) -> str:
    """Its row among the folders of docs/architecture.md."""
    if f"| `{part.folder}` |" in source:
        return source
    row = f"| `{part.folder}` | {part.name.replace('_', ' ')}; verifies tokens offline, and follows auth's events |"
    return editing.add_line_after(source, r"^\| `services/\w+` \|", row)


def _insert_before(source: str, anchor: str, text: str) -> str:
    if anchor not in source:
        raise AnchorError(f"no {' '.join(anchor.split())!r}")
    head, found, tail = source.partition(anchor)
    return f"{head}{text}{found}{tail}"
