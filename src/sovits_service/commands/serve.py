"""`sovits-service serve`: the HTTP server, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sovits_service.commands.offline import load_settings
from sovits_service.commands.parsers import Commands
from sovits_service.errors import MissingExtraError
from sovits_service.native_memory import bound_native_memory

if TYPE_CHECKING:
    from sovits_service.settings import ServiceSettings
    from sovits_service.tts_settings import TtsSettings


def add_commands(commands: Commands) -> None:
    """Add `serve`."""
    serve = commands.add("serve", _serve, "answer HTTP requests")
    serve.add_argument("-a", "--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("-p", "--port", type=int, help="port to listen on (default: 9880)")
    serve.add_argument("--insecure", action="store_true", help="serve without keys on an address that others can reach")
    serve.add_argument("--ray", action="store_true", help="on a Ray cluster, with the replicas of configs/ray.yaml")
    serve.add_argument("--ray-config", type=Path, metavar="FILE", help="default: configs/ray.yaml")


def _serve(args: argparse.Namespace) -> int:
    bound_native_memory()
    tts, settings = load_settings(args)
    tts.require_files()
    host, port = args.host or settings.host, settings.port if args.port is None else args.port
    settings = settings.model_copy(update={"host": host, "port": port})

    if not settings.api_keys and not args.insecure and settings.is_public:
        print(
            f"warning: anyone who reaches {host} may use the service; set api_keys to prevent it, "
            "or pass --insecure to accept that",
            file=sys.stderr,
        )
    if args.ray:
        return _serve_on_ray(args.ray_config, tts, settings)

    from sovits_service.api.app import create_app
    from sovits_service.api.server import DrainingServer, listen
    from sovits_service.telemetry import configure_logging
    from sovits_service.threads import end_with_threads
    from sovits_service.tracing import open_tracer

    configure_logging(settings.log_level, settings.log_format)
    tracer = open_tracer(settings.traces_endpoint)
    with listen(host, port) as listener:
        from sovits_service.jobs.jobs import Jobs
        from sovits_service.jobs.open_store import open_store
        from sovits_service.service.build import build_service

        restart = False

        def on_control(command: str) -> None:
            nonlocal restart
            restart = command == "restart"
            server.begin_drain()

        service = build_service(tts, settings)
        jobs = None
        if settings.jobs.enabled:
            jobs = Jobs(service, settings.jobs, open_store(settings, service.objects))
        server = DrainingServer(create_app(service, settings, on_control, tracer, jobs), service, settings)
        bound_host, bound_port = listener.getsockname()[:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        print(
            f"listening on http://{shown}:{bound_port}; it speaks when /ready answers 200", file=sys.stderr, flush=True
        )
        server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    if restart:
        os.execv(sys.executable, [sys.executable, "-m", "sovits_service", *sys.argv[1:]])  # noqa: S606 - this program again, with its own arguments
    return end_with_threads(0)


def _serve_on_ray(config: Path | None, tts: TtsSettings, settings: ServiceSettings) -> int:
    from sovits_service.ray_serve.options import load_ray_options

    options = load_ray_options(config)
    try:
        from sovits_service import ray_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise MissingExtraError("serve --ray needs Ray: pip install 'sovits-service[ray]'") from None
    ray_app.run(tts, settings, options)
    return 0
