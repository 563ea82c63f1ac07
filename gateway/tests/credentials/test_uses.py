"""What the gateway reports and counts of requests with keys."""

import pytest
from credential_support import header, keyed_gateway, make_key
from kpi_gateway.credentials import uses
from kpi_shared.testing.process import free_port

pytestmark = pytest.mark.anyio


async def test_uses_and_refusals_are_reported_in_batches_and_at_the_end() -> None:
    async with keyed_gateway(trusted_proxies=("127.0.0.0/8",)) as setup:
        setup.auth.grant = {"allowed_networks": ["192.0.2.0/24"]}
        key = make_key(42)
        for address in ("192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.1"):
            await setup.client.get("/posts", headers=header(key) | {"X-Forwarded-For": address})
        reports = setup.auth.reports
        # The end of the gateway reports what is left. The stand-in for auth ends after it.
    found = [use for report in reports for use in report["uses"]]
    assert [(use["key_id"], use["address"]) for use in found][-1] == (42, "192.0.2.2")
    assert sum(use["count"] for use in found) == 2
    refused = [each for report in reports for each in report["refusals"]]
    assert {(each["key_id"], each["address"]) for each in refused} == {(42, "198.51.100.1")}
    assert sum(each["count"] for each in refused) == 2
    assert len(reports) <= 2


async def test_refused_networks_are_bounded_whatever_the_addresses() -> None:
    """Each becomes a record of the audit trail, which is kept for good."""
    kept = uses.Uses()
    for number in range(300):
        kept.refuse(1, "2001:db8::/64", f"2001:db8::{number:x}")
    assert kept.lost == 0
    for number in range(300):
        kept.refuse(1, f"2001:db8:0:{number:x}::/64", f"2001:db8:0:{number:x}::1")
    assert kept.lost == 300 - 99


async def test_a_report_that_fails_is_not_repeated() -> None:
    kept = uses.Uses(max_kept=2)
    for key_id in (1, 1, 2, 3):
        kept.add(key_id, "192.0.2.1")
    assert kept.lost == 1

    class Down:
        async def post(self, *_: object, **__: object) -> tuple[int, bytes]:
            raise TimeoutError

    assert not await kept.report(Down())  # type: ignore[arg-type]
    assert kept.lost == 4
    assert not await kept.report(Down())  # type: ignore[arg-type]
    assert kept.lost == 4


async def test_metrics_count_what_became_of_requests_with_keys() -> None:
    port = free_port()
    async with keyed_gateway(metrics_port=port) as setup:
        for _ in range(3):
            await setup.client.get("/posts", headers=header(make_key()))
        await setup.client.get("/posts", headers=header("wrong"))
        metrics = (await setup.client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'kpi_gateway_key_requests_total{outcome="exchanged"} 3.0' in metrics
    assert 'kpi_gateway_key_requests_total{outcome="invalid"} 1.0' in metrics
    assert "kpi_gateway_key_exchanges_total 3.0" in metrics
