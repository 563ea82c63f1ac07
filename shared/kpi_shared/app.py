"""The FastAPI application of a service: middleware, error handlers and health checks."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from kpi_kit.errors import DriverUnavailableError

from kpi_shared.background import running
from kpi_shared.database import (
    Bounds,
    Database,
    ReadOnlyDatabaseError,
    install_database_handlers,
    register_pool_metrics,
)
from kpi_shared.errors import UnavailableError, install_error_handlers, problem_response
from kpi_shared.files.housekeeping import file_housekeeping
from kpi_shared.files.storage import file_storage
from kpi_shared.health import AppCheck, Check, NotReadyError, health_router
from kpi_shared.http.compression import Compression
from kpi_shared.http.middleware import BodyLimit, HeadAsGet, RequestContext, TrailingSlash
from kpi_shared.http.openapi import COMMON_PROBLEMS, describe_tags, install_openapi, operation_id
from kpi_shared.idempotency import install_retry_handler
from kpi_shared.migrations import current_revision, is_current, newest_revision
from kpi_shared.server.options import ON_STOP, freeze_garbage_collector
from kpi_shared.settings import ServiceSettings
from kpi_shared.telemetry.logging import configure_logging
from kpi_shared.telemetry.observation import Observation
from kpi_shared.token_keys.following import following
from kpi_shared.tokens import TokenCodec

log = structlog.get_logger(__name__)

# Of a service that does not say otherwise. 40,000 characters may take 12 bytes each if a client escapes them all.
MAX_BODY_BYTES = 1024 * 1024


# Something that a service creates at the start and closes at the end, in reverse order.
Resource = Callable[[FastAPI], AsyncIterator[None]]
_COMMON_TAGS = {"health": "Whether the service works"}


def build_service(  # noqa: PLR0913 what a service is made of, each by its name
    settings: ServiceSettings,
    *,
    title: str,
    version: str,
    routers: Sequence[APIRouter],
    tags: Mapping[str, str],
    resources: Sequence[Resource] = (),
    checks: Mapping[str, AppCheck] | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> FastAPI:
    """``tags`` are the groups of operations in the API document, with their descriptions.

    ``checks`` are those of readiness beside that of the database.
    """
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format)
    observation = Observation(settings, version=version)
    app = FastAPI(
        title=title,
        version=version,
        debug=False,
        lifespan=_lifespan(settings, resources, observation),
        openapi_tags=describe_tags({**_COMMON_TAGS, **tags}),
        responses=COMMON_PROBLEMS,
        generate_unique_id_function=operation_id,
        # The gateway serves one document for all parts; a service serves its own only for debugging.
        docs_url="/docs" if settings.debug else None,
        redoc_url=None,
        # TrailingSlash replaces the framework's redirects, which are built from the client's Host header.
        redirect_slashes=False,
        # kpi_shared.telemetry exports to OpenTelemetry itself. FastAPI's own costs 5% of a short request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.metrics = observation.metrics
    app.state.observation = observation
    # Each is called once when the server stops, before it waits for the responses in progress: what has no end of its
    # own must end now. The server finds them in the state of the lifespan.
    app.state.on_stop = []
    for router in routers:
        app.include_router(router)
    all_checks = _readiness_checks(app, settings)
    all_checks |= {name: partial(check, app) for name, check in (checks or {}).items()}
    app.include_router(health_router(settings, version=version, checks=all_checks))
    install_error_handlers(app)
    install_database_handlers(app)
    install_library_handlers(app)
    install_retry_handler(app)
    install_openapi(app)
    app.add_middleware(Compression)
    app.add_middleware(HeadAsGet)
    app.add_middleware(TrailingSlash)
    routes = [route for router in routers for route in router.routes]
    app.add_middleware(BodyLimit, limit=max_body_bytes, routes=routes)
    if observation.tracing is not None:
        app.add_middleware(observation.tracing.wrap)
    app.add_middleware(RequestContext, access_log=settings.debug, observation=observation)
    return app


def install_library_handlers(app: FastAPI) -> None:
    """Respond with 503 and Retry-After if a library of the kit cannot handle the call now, and nothing else does."""
    app.add_exception_handler(DriverUnavailableError, _render_unavailable)


async def _render_unavailable(request: Request, error: Exception) -> Response:
    # The texts of these errors have no address, key or content.
    log.warning("library unavailable", error=type(error).__name__, reason=str(error))
    return problem_response(UnavailableError(), request)


def _lifespan(
    settings: ServiceSettings, resources: Sequence[Resource], observation: Observation
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        app.state.tokens = TokenCodec.of(settings)
        app.state.session_check = None
        app.state.revocations = None
        app.state.idempotency_secrets = ()
        app.state.database = Database(settings, bounds=Bounds.of_requests(settings))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(observation.running())
            stack.push_async_callback(app.state.database.close)
            register_pool_metrics(app.state.database, observation.metrics)
            await stack.enter_async_context(following(app.state.tokens, settings, observation.metrics))
            await stack.enter_async_context(running(app.state.database.watch(), name="database watch"))
            for resource in (file_storage, *resources, file_housekeeping):
                await stack.enter_async_context(asynccontextmanager(resource)(app))
            freeze_garbage_collector()
            yield {ON_STOP: app.state.on_stop}

    return lifespan


def _readiness_checks(app: FastAPI, settings: ServiceSettings) -> dict[str, Check]:
    # Cached: the migrations are files, which are not to be read for each probe.
    current = cache(partial(is_current, settings.part))

    async def check_database() -> None:
        database: Database = app.state.database
        try:
            revision = await database.ask(current_revision)
        except ReadOnlyDatabaseError:
            raise NotReadyError("accepts no writes") from None
        except TimeoutError:
            # Requests may have taken its whole time. An error, such as a refused connection, is an answer.
            if not database.state.has_answered_lately:
                raise
            return
        if not current(revision):
            raise NotReadyError(f"at migration {revision}, {newest_revision(settings.part)} is required")

    return {"database": check_database}
