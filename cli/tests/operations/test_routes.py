"""``kpi routes`` with stand-ins for the parts, none of them running."""

import json

import pytest
from cli_harness import Checkout
from kpi_cli.operations.routes import Access, Filter


def test_operations_are_lines_with_who_may_call_them_and_how_often(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("routes")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "method\tpath\tservice\toperation\taccess\tlimits",
        "GET\t/api/v1/posts\tcontent\tlist_posts\tpublic\taddress 1,000/60 s",
        "POST\t/api/v1/auth/register\tauth\tregister\tpublic-write\taddress 1,000/60 s, login 20/60 s",
        "GET\t/api/v1/audit\tauth\tlist_audit\tadmin\taddress 1,000/60 s",
        "GET\t/health\tgateway\t-\t-\t-",
    ]


def test_operations_are_json_and_filtered(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("routes", "--json", "--service", "auth", "--access", "public")
    (route,) = json.loads(result.stdout)["routes"]
    assert (route["operation_id"], route["limits"][1]) == (
        "register",
        {"policy": "login", "requests": 20, "window": 60},
    )


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        (Filter(), True),
        (Filter(service="auth", method="post", path="REGISTER", access=Access.PUBLIC), True),
        (Filter(service="content"), False),
        (Filter(method="GET"), False),
        (Filter(path="/login"), False),
        (Filter(access=Access.WRITE), False),
    ],
)
def test_filters(wanted: Filter, *, accepted: bool) -> None:
    route = {"method": "POST", "path": "/api/v1/auth/register", "service": "auth", "access": "public-write"}
    assert wanted.accepts(route) is accepted


def test_an_unknown_service_is_no_empty_list(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("routes", "--service", "contnet")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == (
        "kpi: routes: no route leads to contnet; the services are auth, content, gateway; did you mean content?"
    )
