"""Options of the Ray Serve application, from `ray.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from sovits_service.config_file import ConfigModel, describe_problems, find_path, read_yaml, refuse_unknown
from sovits_service.errors import SettingsError

DEFAULT_RAY_CONFIG = Path("configs/ray.yaml")


class ClusterOptions(ConfigModel):
    """A cluster that `serve --ray` begins on this machine where RAY_ADDRESS names none.

    Attributes:
        cpus: that Ray may give away; 0 takes those of the machine.
        object_store_bytes: shared memory for what is too large for a message, as uploads.
        dashboard: of Ray, on loopback.
    """

    cpus: float = Field(default=0, ge=0)
    object_store_bytes: int = Field(default=200 * 2**20, ge=80 * 2**20)
    dashboard: bool = False


class IngressOptions(ConfigModel):
    """Replicas that speak HTTP: they need no models.

    Attributes:
        cpus: that each counts for.
        max_requests: at the same time, of each.
    """

    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1, ge=0)
    max_requests: int = Field(default=1000, ge=1)


class EngineOptions(ConfigModel):
    """Replicas that speak.

    Attributes:
        cpus, gpus: that each has for itself.
        min_replicas, max_replicas: between which their number follows the load.
        queued_speech_s: seconds of speech that are asked for and not made yet, of each replica: with more there will be
            more replicas, with less fewer.
        upscale_delay_s, downscale_delay_s: how long it must have been so.
        health_check_s: how often an engine is asked whether it lives.
        routing: `voice` sends a request where its voice is warm; `random` is for comparison.
    """

    cpus: float = Field(default=2, gt=0)
    gpus: float = Field(default=0, ge=0)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    queued_speech_s: float = Field(default=60, gt=0)
    upscale_delay_s: float = Field(default=10, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)
    health_check_s: float = Field(default=5, gt=0)
    routing: Literal["voice", "random"] = "voice"


class RayOptions(ConfigModel):
    """The whole file."""

    cluster: ClusterOptions = ClusterOptions()
    ingress: IngressOptions = IngressOptions()
    engine: EngineOptions = EngineOptions()


def load_ray_options(path: Path | None = None) -> RayOptions:
    """Read `ray.yaml`; None takes `configs/ray.yaml`, of the working directory or else of the package.

    Raises:
        SettingsError: no such file, an unknown key, or an unusable value.
    """
    found = find_path(path or DEFAULT_RAY_CONFIG)
    values = read_yaml(found)
    refuse_unknown(values, RayOptions.model_fields, str(found))
    try:
        return RayOptions.model_validate(values)
    except ValidationError as error:
        raise SettingsError(describe_problems(error, str(found))) from None
