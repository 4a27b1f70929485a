"""The service on Ray Serve: `serve run sovits_service.ray_app:app`, or `sovits-service serve --ray`.

An ingress has the HTTP interface and no models; engines speak, each with cores or a GPU of its own. A request goes
through Serve's proxy to an ingress, and from there to the engine that has its voice warm.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, HTTPOptions, RequestRouterConfig

from sovits_service.errors import SettingsError
from sovits_service.ray_serve.engine import SpeechEngine
from sovits_service.ray_serve.options import EngineOptions, RayOptions, load_ray_options
from sovits_service.ray_serve.remote import RemoteService
from sovits_service.settings import ServiceSettings, load_service_settings
from sovits_service.tts_settings import TtsSettings, load_tts_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from sovits_service.jobs.jobs import Jobs

_MARGIN = 64  # of calls beside syntheses, which the engine counts and refuses by itself
_KEEP_ALIVE_S = 75
# Read by the processes of a cluster that is begun here; those of another have them in their own environment.
_CLUSTER_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "sovits_service.ray_serve.proxy.middlewares",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",  # a proxy that died is replaced after three
}


@serve.ingress(None)
class SpeechIngress:
    """The HTTP interface, and the cache of finished answers."""

    def __init__(self, engine: Any, settings: ServiceSettings) -> None:
        from sovits_service.telemetry import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        self._settings = settings
        self._service = RemoteService(engine, settings)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve when the replica is made."""
        from sovits_service.api.app import create_app
        from sovits_service.tracing import open_tracer

        await self._service.start()
        self._jobs = self._open_jobs()
        if self._jobs is not None:
            self._jobs.start()
        tracer = open_tracer(self._settings.traces_endpoint)
        return create_app(self._service, self._settings, tracer=tracer, jobs=self._jobs)

    def _open_jobs(self) -> Jobs | None:
        """Those of all ingresses; None where they share nothing that jobs could be kept in."""
        from sovits_service.jobs.jobs import Jobs
        from sovits_service.jobs.open_store import open_shared_store

        store = open_shared_store(self._settings, self._service.objects) if self._settings.jobs.enabled else None
        return Jobs(self._service, self._settings.jobs, store) if store is not None else None

    async def __del__(self) -> None:
        """Called by Serve when its last request has been answered."""
        jobs, service = getattr(self, "_jobs", None), getattr(self, "_service", None)
        if jobs is not None:
            await jobs.stop()
        if service is not None:
            await service.stop()


def build(tts: TtsSettings, settings: ServiceSettings, options: RayOptions) -> Application:
    """The application of an ingress and its engines.

    Raises:
        SettingsError: configured files are missing, or settings do not go together.
    """
    tts.require_files()
    if settings.admin.enabled and not settings.sharing.redis_url.get_secret_value():
        raise SettingsError("admin.enabled needs sharing.redis_url with Ray: switches reach all replicas through it")
    engine = serve.deployment(SpeechEngine, name="SpeechEngine").options(**_engine_options(settings, options.engine))
    ingress = serve.deployment(SpeechIngress, name="SpeechIngress").options(
        num_replicas=options.ingress.replicas,
        max_ongoing_requests=options.ingress.max_requests,
        ray_actor_options={"num_cpus": options.ingress.cpus},
        graceful_shutdown_timeout_s=settings.drain_s + 5,
        graceful_shutdown_wait_loop_s=0.5,
        logging_config={"enable_access_log": False},
    )
    return cast("Application", ingress.bind(engine.bind(tts, settings), settings))


def app(args: dict[str, str]) -> Application:
    """For `serve run sovits_service.ray_app:app`, with config=, section=, service_config= and ray_config= behind it."""
    paths = {name: Path(args[name]) if name in args else None for name in ("config", "service_config", "ray_config")}
    tts = load_tts_settings(paths["config"], args.get("section", "custom"))
    return build(tts, load_service_settings(paths["service_config"]), load_ray_options(paths["ray_config"]))


def run(tts: TtsSettings, settings: ServiceSettings, options: RayOptions) -> None:
    """Serve until SIGTERM or SIGINT, on the cluster of RAY_ADDRESS, or one on this machine that ends with it."""
    application = build(tts, settings, options)
    for name, value in _CLUSTER_VARIABLES.items():
        os.environ.setdefault(name, value)
    cluster = options.cluster
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(
            num_cpus=cluster.cpus or None,
            object_store_memory=cluster.object_store_bytes,
            include_dashboard=cluster.dashboard,
            log_to_driver=True,
        )
    ending = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: ending.set())
    serve.start(
        http_options=HTTPOptions(
            host=settings.host,
            port=settings.port,
            keep_alive_timeout_s=_KEEP_ALIVE_S,
        )
    )
    serve.run(application, name="sovits", route_prefix="/")
    print(f"listening on http://{settings.host}:{settings.port}", file=sys.stderr, flush=True)
    ending.wait()
    serve.shutdown()
    ray.shutdown()


def _engine_options(settings: ServiceSettings, options: EngineOptions) -> dict[str, Any]:
    policy = AutoscalingPolicy(
        policy_function="sovits_service.ray_serve.scaling:ByQueuedSpeech",
        policy_kwargs={"queued_speech_s": options.queued_speech_s},
    )
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=options.min_replicas,
            initial_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            upscale_delay_s=options.upscale_delay_s,
            downscale_delay_s=options.downscale_delay_s,
            metrics_interval_s=1.0,
            look_back_period_s=5.0,
            policy=policy,
        ),
        "request_router_config": RequestRouterConfig(
            request_router_class="sovits_service.ray_serve.routing:VoiceRouter",
            request_router_kwargs={"is_random": options.routing == "random"},
            request_routing_stats_period_s=1.0,
            request_routing_stats_timeout_s=5.0,
        ),
        "max_ongoing_requests": settings.max_running + settings.max_queue + _MARGIN,
        "max_queued_requests": max(1, settings.max_queue),
        "ray_actor_options": {"num_cpus": options.cpus, "num_gpus": options.gpus},
        "logging_config": {"enable_access_log": False},
        "health_check_period_s": options.health_check_s,
        "health_check_timeout_s": max(30.0, 2 * options.health_check_s),
        "graceful_shutdown_timeout_s": settings.drain_s,
        "graceful_shutdown_wait_loop_s": 0.5,
    }
