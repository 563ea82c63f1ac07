"""The response to a request that is refused because the service is handling as many as it can."""

from kpi_shared.http.refusals import Refusal

from kpi_gateway.upstream.contract import UpstreamBusyError

BUSY = Refusal(UpstreamBusyError())
