"""The service's settings, validated from `service.yaml` and SOVITS_* variables."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariableError

from sovits_service.config_file import (
    ConfigModel,
    bundled_root,
    describe_problems,
    find_path,
    read_yaml,
    refuse_unknown,
)
from sovits_service.errors import SettingsError
from sovits_service.setting_sections import (
    OFF,
    AdminSettings,
    ApiKeySettings,
    CacheSettings,
    ConnectionSettings,
    DialectSettings,
    JobSettings,
    ObjectSettings,
    SharingSettings,
    UploadSettings,
    WyomingSettings,
)
from sovits_service.types import GuardMode

DEFAULT_SERVICE_CONFIG = Path("configs/service.yaml")
ENV_PREFIX = "SOVITS_"


def _split_list(value: object) -> object:
    """A list in a variable: JSON, or items separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _check_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


def _check_origin(value: str) -> str:
    origin = value.lower().removesuffix("/")
    if origin not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+", origin):
        raise ValueError("an origin is written as browsers send it, https://page.example or https://page.example:8443")
    return origin


def _check_host(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("a host is a name alone, without scheme, port and path: speech.lan")
    return value


PathList = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_list)]
OriginList = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...], NoDecode, BeforeValidator(_split_list)
]
HostList = Annotated[tuple[Annotated[str, AfterValidator(_check_host)], ...], NoDecode, BeforeValidator(_split_list)]
NetworkList = Annotated[
    tuple[Annotated[str, AfterValidator(_check_network)], ...], NoDecode, BeforeValidator(_split_list)
]


class ServiceSettings(ConfigModel, BaseSettings):
    """`service.yaml` and SOVITS_* variables; a variable wins over the file (`SOVITS_ADMIN__ENABLED=true`).

    Attributes:
        voices_roots: folders of voice templates; new voices are written to the first.
        bundled_voices: offer the demonstration voices of the package too, after all other roots.
        root_path: what a reverse proxy puts before all paths, as `/speech`, whether or not it takes it away again.
        default_voice: the voice template of requests of the dialects that name none. Where it is empty, those of api.py
            are refused, and others get the first voice.
        voice_aliases: names that clients of other services send (`alloy`), and the voice templates that they stand for.
        strict_voices: refuse a voice of another service that has no alias; otherwise the default voice speaks.
        upload_dir: where uploaded references are kept.
        reference_roots: further folders that `ref_audio_path` may name a file in; voices and uploads always may.
        weights_roots: folders whose weights may be chosen at run time.
        backend: what the GPT runs on; `auto` is ONNX Runtime on a CPU and torch on CUDA.
        precision: of its products and BERT's; `auto` is int8 with ONNX Runtime, and what `is_half` says with torch.
            bfloat16 is torch's alone, on CUDA or a CPU; waves stay in what `is_half` says.
            With int8, HiFi-GAN multiplies in bfloat16 where the processor has instructions for it.
        graphs_dir: where graphs for ONNX Runtime are kept, so that a model is built once.
        graphs_max_bytes: what they may take; those used longest ago leave first.
        max_models: pairs of weights that stay loaded; the one used longest ago leaves first.
        max_models_bytes: what their weights, and on CUDA their KV caches, may take together; 0 sets no bound. The
            current pair, and one that is needed, are loaded whatever they take.
        lexicon_path: the users' pronunciation dictionary; read when it exists.
        max_queue: requests that may wait; one more is refused with 503.
        max_running: sequences decoded together, that is, slots of the KV cache.
        kv_cache: `fixed` has `max_running` slots; `auto`, on CUDA, as many as the free memory holds, 64 at most.
        kv_reserve_bytes: of a CUDA device's memory, left free by `auto` for everything else.
        max_seq_tokens: phonemes, prompt and new tokens of one sequence together.
        guard: what becomes of a faulty fragment, where the request does not say: `off` looks for no faults, `flag`
            reports them, `retry` takes the fragment again.
        max_takes: of a fragment with `guard: retry`.
        timeout_s: longest time that a request may wait for its speech, from its arrival on.
        stall_s: longest time that the client of a stream may read nothing of it.
        deterministic: on CUDA steps and prefills have fixed shapes, so that a seed gives the same speech however many
            speak; off spares work while few do.
        threads: of each operator on the CPU, in each of the stages that compute side by side; 0 takes OMP_NUM_THREADS,
            or half the cores that the process may use (affinity, cgroup), and all for waves that are made alone.
        stuck_s: how long one step of the engine or one piece of its work may take before `/health` answers 503.
        drain_s: how long running requests may go on after SIGTERM.
        max_aux_references: references that a request or a voice may name beside the first.
        max_prompt_characters: of the transcript of a reference, wherever it comes from.
        max_pauses_s: silence between the fragments of an answer, all together.
        max_audio_s: duration of an answer.
        max_voices: that PUT /voices lets the first of the voices roots have.
        max_request_bytes: longest JSON body.
        max_concurrent_uploads: references that are received and decoded at the same time.
        max_concurrent_uploads_per_client: of them, those of one key, or of one address without keys.
        max_concurrent_per_client: syntheses of one key, or of one address without keys, at the same time; 0 sets no
            bound beside the queue's.
        rate_limit: requests of one key or address, as `60/minute`; empty is no limit.
        api_keys: with any key set, every route asks for one, but `/health`, `/ready`, the documentation and the signed
            links of `/objects`.
        traces_endpoint: where OpenTelemetry spans go by OTLP over HTTP, as `http://collector:4318`; empty: nowhere.
        cors_origins: origins of web pages that may call the API from a browser; pages of loopback origins may always
            speak and list voices.
        allowed_hosts: names by which clients reach the service, beside the addresses that it listens on; where no keys
            are set, a loopback address answers to no other name with a dot in it.
        trusted_proxies: addresses or networks of reverse proxies, whose X-Forwarded-For is believed; empty is none.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=9880, ge=0, le=65535)
    root_path: Annotated[str, Field(pattern=r"^(/[\w.~-]+)*$")] = ""
    voices_roots: PathList = (Path("voices"),)
    bundled_voices: bool = True
    default_voice: str = ""
    voice_aliases: Mapping[str, str] = {}
    strict_voices: bool = False
    upload_dir: Path = Path("uploads")
    reference_roots: PathList = ()
    weights_roots: PathList = (Path("pretrained_models"), Path("weights"))
    lexicon_path: Path = Path("configs/lexicon.yaml")
    backend: Literal["auto", "torch", "onnx"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    graphs_dir: Path = Path("cache/graphs")
    graphs_max_bytes: int = Field(default=2 * 2**30, ge=0)
    max_models: int = Field(default=2, ge=1)
    max_models_bytes: int = Field(default=0, ge=0)
    max_text_characters: int = Field(default=10_000, ge=1)
    max_upload_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    max_queue: int = Field(default=64, ge=0)
    max_running: int = Field(default=16, ge=1)
    kv_cache: Literal["fixed", "auto"] = "fixed"
    kv_reserve_bytes: int = Field(default=2 * 2**30, ge=0)
    max_seq_tokens: int = Field(default=2_000, ge=64)
    guard: Annotated[GuardMode, OFF] = "off"
    max_takes: int = Field(default=3, ge=1, le=10)
    timeout_s: float = Field(default=300.0, gt=0)
    stall_s: float = Field(default=120.0, gt=0)
    deterministic: bool = True
    threads: int = Field(default=0, ge=0)
    stuck_s: float = Field(default=600.0, gt=0)
    drain_s: float = Field(default=30.0, ge=0)
    max_aux_references: int = Field(default=16, ge=0)
    max_prompt_characters: int = Field(default=500, ge=1, le=2000)
    max_pauses_s: float = Field(default=600.0, ge=0)
    max_audio_s: float = Field(default=3600.0, gt=0)
    max_voices: int = Field(default=10_000, ge=1)
    max_request_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_concurrent_uploads: int = Field(default=8, ge=1)
    max_concurrent_uploads_per_client: int = Field(default=4, ge=1)
    max_concurrent_per_client: int = Field(default=0, ge=0)
    rate_limit: Annotated[str, Field(pattern=r"^([1-9]\d{0,8}/(second|minute|hour|day))?$")] = ""
    api_keys: tuple[ApiKeySettings, ...] = ()
    cors_origins: OriginList = ()
    allowed_hosts: HostList = ()
    trusted_proxies: NetworkList = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    traces_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    admin: AdminSettings = AdminSettings()
    dialects: DialectSettings = DialectSettings()
    wyoming: WyomingSettings = WyomingSettings()
    connections: ConnectionSettings = ConnectionSettings()
    uploads: UploadSettings = UploadSettings()
    cache: CacheSettings = CacheSettings()
    objects: ObjectSettings = ObjectSettings()
    sharing: SharingSettings = SharingSettings()
    jobs: JobSettings = JobSettings()

    @field_validator("api_keys")
    @classmethod
    def _no_twins(cls, keys: tuple[ApiKeySettings, ...]) -> tuple[ApiKeySettings, ...]:
        """Two keys of one name would share what belongs to a key; of two with one hash, the second would be ignored."""
        for what in ("name", "sha256"):
            if len({getattr(key, what) for key in keys}) < len(keys):
                raise ValueError(f"two keys have the same {what}; give each its own")
        return keys

    @model_validator(mode="after")
    def _wyoming_stands_for_a_key(self) -> Self:
        names = [key.name for key in self.api_keys if "synth" in key.scopes]
        if self.wyoming.port and self.api_keys and self.wyoming.as_key not in names:
            raise ValueError("wyoming.as_key must name one of api_keys with the scope synth: Wyoming has no keys")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose values arrive as arguments."""
        return env_settings, init_settings

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the port."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return self.host != "localhost"

    @property
    def isolates_uploads(self) -> bool:
        """Whether audio is decoded in separate processes."""
        isolate = self.uploads.isolate
        return self.is_public or bool(self.trusted_proxies) if isolate == "auto" else isolate

    @property
    def all_voices_roots(self) -> tuple[Path, ...]:
        """The configured roots, and after them the packaged voices where these are a further folder."""
        root = bundled_root()
        if not self.bundled_voices or root is None:
            return self.voices_roots
        packaged = (root / "voices").resolve()
        if any(configured.resolve() == packaged for configured in self.voices_roots):
            return self.voices_roots
        return (*self.voices_roots, packaged)


def load_service_settings(path: Path | None = None) -> ServiceSettings:
    """Read `service.yaml` and the SOVITS_* variables.

    Args:
        path: the file, which must exist; None takes `configs/service.yaml` if there is one, else the defaults.

    Raises:
        SettingsError: an unknown key or variable (the message names the nearest valid one), or an unusable value.
    """
    config_path = find_path(path or DEFAULT_SERVICE_CONFIG)
    values = read_yaml(config_path) if path is not None or config_path.exists() else {}
    refuse_unknown(values, ServiceSettings.model_fields, str(config_path))
    for key, model in _nested_models().items():
        if isinstance(values.get(key), dict):
            refuse_unknown(values[key], model.model_fields, f"{config_path}, {key}")
    refuse_unknown([name for name in os.environ if name.startswith(ENV_PREFIX)], _variable_names(), "the environment")
    try:
        return ServiceSettings(**values)
    except (ValidationError, json.JSONDecodeError) as error:
        raise SettingsError(describe_problems(error, f"{config_path} and {ENV_PREFIX}* variables")) from None
    except UnreadableVariableError as error:  # its message names the field; the value may be a secret
        raise SettingsError(f"{ENV_PREFIX}* variables: {error}; it must be JSON") from None


def _nested_models() -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in ServiceSettings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _variable_names() -> list[str]:
    nested = _nested_models()
    names = [ENV_PREFIX + name.upper() for name in ServiceSettings.model_fields]
    names += [f"{ENV_PREFIX}{name}__{key}".upper() for name, model in nested.items() for key in model.model_fields]
    return names
