"""Build the FastAPI application for a service and its settings."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles

from sovits_service.api.access import AccessControl
from sovits_service.api.cached_speech import CachedSpeech
from sovits_service.api.deps import ApiContext, ControlCommand
from sovits_service.api.dialects import api_v1, elevenlabs, elevenlabs_live, gsvi, openai, sillytavern
from sovits_service.api.errors import install_error_handlers
from sovits_service.api.front_page import add_page_files, docs_headers, front_page, wants_front_page
from sovits_service.api.middleware import RequestEdge
from sovits_service.api.pages import LOOPBACK_ORIGIN, KnownHosts
from sovits_service.api.routes import checks, live, objects, ops, read, tts, vc, voices
from sovits_service.api.routes import jobs as job_routes
from sovits_service.errors import InvalidRequestError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.downloads.fetch import ReferenceFetcher
from sovits_service.telemetry import Metrics
from sovits_service.tracing import RequestTracer

if TYPE_CHECKING:
    from sovits_service.jobs.jobs import Jobs
    from sovits_service.service.protocol import Service

_EXPOSED_HEADERS = (
    "X-Request-ID",
    "X-Seed",
    "X-Sample-Rate",
    "X-Dropped-Characters",
    "X-Warnings",
    "X-Takes",
    "X-Cache",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Retry-After",
)
_DESCRIPTION = "Speech for GPT-SoVITS voices: the requests of api_v2, voice templates, and OpenAI's speech endpoint."


def create_app(
    service: Service,
    settings: ServiceSettings,
    on_control: Callable[[ControlCommand], None] | None = None,
    tracer: RequestTracer | None = None,
    jobs: Jobs | None = None,
) -> FastAPI:
    """The HTTP interface of a service. Starting and stopping the service is the caller's business.

    Args:
        service: what makes speech and keeps voices.
        settings: limits, keys and switches.
        on_control: what `/control` does when administration is on; None where the process is not ours to stop.
        tracer: where finished requests are told; None without traces.
        jobs: of long texts, whose start and end are the caller's business too; None answers 501.
    """
    metrics = Metrics(lambda: _read_counters(service), lambda: service.computation)
    app = FastAPI(
        title="sovits_service",
        version=importlib.metadata.version("sovits-service"),
        description=_DESCRIPTION,
        docs_url=None,  # the stock page loads its script from elsewhere
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,  # the edge takes such slashes away
    )
    access = AccessControl(settings, service.limits)
    app.state.context = ApiContext(
        service=service,
        settings=settings,
        metrics=metrics,
        access=access,
        cached_speech=CachedSpeech(service, metrics),
        fetcher=ReferenceFetcher(settings.max_upload_bytes) if settings.uploads.from_urls else None,
        on_control=on_control,
        jobs=jobs,
    )
    routers = [module.router for module in (tts, vc, read, voices, checks, job_routes, objects, ops)]
    if settings.dialects.api_v1:
        routers += [api_v1.router, api_v1.admin_router]
    if settings.dialects.openai:
        routers.append(openai.router)
    if settings.dialects.gsvi:
        routers.append(gsvi.router)
    if settings.dialects.websocket:
        routers.append(live.router)
    if settings.dialects.elevenlabs:
        routers += [elevenlabs.router, elevenlabs_live.router]
    if settings.dialects.sillytavern:
        routers.append(sillytavern.router)
    app.state.websocket_paths = [
        route.path_regex for router in routers for route in router.routes if isinstance(route, WebSocketRoute)
    ]
    for router in routers:
        app.include_router(router)
        _answer_head(app, router)
    _add_pages(app)
    install_error_handlers(app, [*app.routes, *(route for router in routers for route in router.routes)], metrics)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_origin_regex=LOOPBACK_ORIGIN,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],  # clients add their own, as OpenAI's x-stainless-...; keys are asked for all the same
        allow_private_network=True,
        expose_headers=list(_EXPOSED_HEADERS),
    )
    app.add_middleware(KnownHosts, rules=access.pages)
    app.add_middleware(RequestEdge, metrics=metrics, tracer=tracer, root_path=settings.root_path)
    return app


def _answer_head(app: FastAPI, router: APIRouter) -> None:
    """HEAD where GET works, but for routes that change something."""
    for route in router.routes:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and "administration" not in route.tags:
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                include_in_schema=False,
                response_model=route.response_model,
                response_class=route.response_class,
            )


def _read_counters(service: Service) -> dict[str, float]:
    counters = {f"engine_{name}": value for name, value in service.stats().items()}
    counters |= {f"periodic_{name}_failures_total": count for name, count in service.periodic_failures.items()}
    if service.results is not None:
        counts = dataclasses.asdict(service.results.counts)
        counters |= {f"cache_{name}_total": value for name, value in counts.items()}
    return counters


def _add_pages(app: FastAPI) -> None:
    """The page at `/` and the interactive documentation, with every file of them served from here."""
    add_page_files(app.router)
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs-assets")

    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title="sovits_service",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
        page.headers.update(docs_headers(bytes(page.body)))
        return page

    async def root(request: Request) -> Response:
        if wants_front_page(request):
            return front_page(request)
        if request.method == "POST" or "text" in request.query_params:  # a request of a dialect that is switched off
            raise InvalidRequestError(
                "speech is at /tts: send text, text_lang and voice_id or ref_audio_path there; /docs has all fields"
            )
        return RedirectResponse(f"{request.scope['root_path']}/docs")

    app.add_api_route("/docs", docs, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/", root, methods=["GET", "HEAD", "POST"], include_in_schema=False)
