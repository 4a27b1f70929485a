"""Typed settings, validated from YAML files and SOVITS_* variables."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from sovits_service.config_file import (
    ConfigModel,
    bundled_root,
    describe_problems,
    find_path,
    nearest,
    read_yaml,
    refuse_unknown,
)
from sovits_service.errors import SettingsError
from sovits_service.types import GuardMode, ModelVersion

DEFAULT_TTS_CONFIG = Path("configs/tts_infer.yaml")
DEFAULT_SERVICE_CONFIG = Path("configs/service.yaml")
DEFAULT_SECTION = "custom"
ENV_PREFIX = "SOVITS_"
VERSIONS: tuple[ModelVersion, ...] = get_args(ModelVersion)

_DEFAULT_PRETRAINED_ROOT = Path("pretrained_models")
_VOCODERS: Mapping[str, str] = {
    "v3": "models--nvidia--bigvgan_v2_24khz_100band_256x",
    "v4": "gsv-v4-pretrained/vocoder.pth",
}
_BASE_VITS_FILE: Mapping[str, str] = {"v3": "s2Gv3.pth", "v4": "gsv-v4-pretrained/s2Gv4.pth"}


class TtsSettings(BaseModel):
    """One section of `tts_infer.yaml`: which files make up the model, and where it runs.

    Relative paths are seen from the working directory, then from the files that come with the package. The first
    seven keys are the original's; the rest have defaults beside the other pretrained files.

    Attributes:
        bert_base_path: a transformers folder; None means zero BERT features.
        device, is_half: what is asked for; `auto` is CUDA where there is a device, else the CPU. Without CUDA the
            service falls back to float32 on the CPU.
        sv_path: the speaker verification model of v2Pro and v2ProPlus.
        vocoder_path: BigVGAN's folder (v3) or `vocoder.pth` (v4).
        base_vits_path: the SoVITS file that a v3 or v4 LoRA is merged into.
        super_sampling_path: the AP-BWE checkpoint for 24 to 48 kHz (v3); optional, used when it exists.
        g2pw_path: the G2PWModel folder for Chinese polyphones; optional, used when it exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    bert_base_path: Path | None = None
    cnhuhbert_base_path: Path
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    is_half: bool = False
    t2s_weights_path: Path
    vits_weights_path: Path
    version: ModelVersion
    sv_path: Path
    vocoder_path: Path | None = None
    base_vits_path: Path | None = None
    super_sampling_path: Path
    g2pw_path: Path

    @property
    def g2pw_dir(self) -> Path | None:
        """The folder of the Chinese polyphone model; None where it is not there."""
        return self.g2pw_path if self.g2pw_path.exists() else None

    def vocoder_for(self, version: ModelVersion) -> Path:
        """The vocoder of a v3 or v4 model, whichever version is configured."""
        if version == self.version and self.vocoder_path is not None:
            return self.vocoder_path
        return find_path(_pretrained_root(self.cnhuhbert_base_path) / _VOCODERS[version])

    def base_vits_for(self, version: ModelVersion) -> Path:
        """The full weights that a LoRA file of v3 or v4 is merged into, whichever version is configured."""
        if version == self.version and self.base_vits_path is not None:
            return self.base_vits_path
        return find_path(_pretrained_root(self.cnhuhbert_base_path) / _BASE_VITS_FILE[version])

    def required_files(self) -> dict[str, Path]:
        """Configuration key -> file or folder that must exist for this version."""
        files = {"t2s_weights_path": self.t2s_weights_path, "vits_weights_path": self.vits_weights_path}
        files["cnhuhbert_base_path"] = self.cnhuhbert_base_path
        if self.bert_base_path is not None:
            files["bert_base_path"] = self.bert_base_path
        if self.version in ("v2Pro", "v2ProPlus"):
            files["sv_path"] = self.sv_path
        if self.vocoder_path is not None:
            files["vocoder_path"] = self.vocoder_path
        return files

    def missing_files(self) -> list[Path]:
        """Every configured file or folder that does not exist, in the order of the keys."""
        return [path for path in self.required_files().values() if not path.exists()]

    def require_files(self) -> None:
        """Raise a SettingsError that names every missing file and the command that gets them."""
        missing = {key: path for key, path in self.required_files().items() if not path.exists()}
        if not missing:
            return
        lines = [f"  {key}: {path}" for key, path in missing.items()]
        count = "a configured file is" if len(missing) == 1 else f"{len(missing)} configured files are"
        raise SettingsError("\n".join([f"{count} missing:", *lines, self.remedy(missing.values())]))

    def remedy(self, missing: Iterable[Path]) -> str:
        """What to do about configured files that are missing."""
        names = [path.as_posix() for path in missing]
        if all("pretrained_models/demo/" in name for name in names):
            return (
                "the demo pack comes with the source tree and with the wheel; get it back with: "
                "git checkout -- pretrained_models/demo (or install the wheel again)"
            )
        published = [name for name in names if "pretrained_models/" in name and "pretrained_models/demo/" not in name]
        advice = []
        if published:
            advice.append(f"get the published files with: sovits-service download {self.version}")
        if len(published) < len(names):
            advice.append("correct the path of the others in the configuration, or put the file there")
        return "; ".join(advice)


def load_tts_settings(path: Path | None = None, section: str = DEFAULT_SECTION) -> TtsSettings:
    """Read one section of `tts_infer.yaml`.

    Args:
        path: the file; None takes `configs/tts_infer.yaml`, of the working directory or else of the package.
        section: `custom`, or one of the published models (`v1`, `v2`, ..., `demo`).

    Raises:
        SettingsError: no such file or section, an unknown key, a value that cannot be used.
    """
    config_path = find_path(path or DEFAULT_TTS_CONFIG)
    document = read_yaml(config_path)
    if section not in document:
        raise SettingsError(
            f"{config_path}: there is no section {section!r}{nearest(section, document)}; "
            f"it has {', '.join(map(str, document))}"
        )
    values = document[section]
    if not isinstance(values, dict):
        raise SettingsError(f"{config_path}: section {section!r} must be a list of `key: value` lines")
    where = f"{config_path}, section {section}"
    refuse_unknown(values, TtsSettings.model_fields, where)
    filled = {key: value for key, value in values.items() if value not in (None, "")}
    _fill_default_paths(filled)
    for key, value in filled.items():
        if key.endswith("_path") and isinstance(value, (str, Path)):
            filled[key] = find_path(Path(value).expanduser())
    try:
        return TtsSettings.model_validate(filled)
    except ValidationError as error:
        raise SettingsError(describe_problems(error, where)) from None


def _fill_default_paths(values: dict[str, Any]) -> None:
    """Companion files live in the `pretrained_models` folder that holds the HuBERT folder, as published."""
    root = _pretrained_root(Path(str(values.get("cnhuhbert_base_path", ""))))
    values.setdefault("sv_path", root / "sv/pretrained_eres2netv2w24s4ep4.ckpt")
    values.setdefault("super_sampling_path", root / "AP_BWE/24kto48k/g_24kto48k.zip")
    values.setdefault("g2pw_path", root / "G2PWModel")
    version = str(values.get("version"))
    if version in _VOCODERS:
        values.setdefault("vocoder_path", root / _VOCODERS[version])
    if version in _BASE_VITS_FILE:
        values.setdefault("base_vits_path", root / _BASE_VITS_FILE[version])


def _pretrained_root(hubert: Path) -> Path:
    return next((p for p in hubert.parents if p.name == _DEFAULT_PRETRAINED_ROOT.name), _DEFAULT_PRETRAINED_ROOT)


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


PathList = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_list)]
# Other readers of YAML make `off` false, and Helm writes that.
_OFF = BeforeValidator(lambda value: "off" if str(value).lower() in ("false", "no", "off") else value)
TextList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list)]
NetworkList = Annotated[
    tuple[Annotated[str, AfterValidator(_check_network)], ...], NoDecode, BeforeValidator(_split_list)
]


class AdminSettings(ConfigModel):
    """Administration routes: `/control`, `/set_gpt_weights`, `/set_sovits_weights`, `/set_refer_audio`."""

    enabled: bool = False


KeyScope = Literal["synth", "upload", "admin"]


class ApiKeySettings(ConfigModel):
    """A key that clients may present. The key itself is nowhere: `printf %s "$KEY" | sha256sum` gives its hash.

    Attributes:
        name: for logs and rate limits.
        scopes: `synth` speaks and lists voices, `upload` adds references and voices, `admin` runs the service.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[KeyScope, ...] = ("synth", "upload")


class UploadSettings(ConfigModel):
    """What becomes of uploaded references.

    Attributes:
        ttl_s: life of an upload; 0 keeps it.
        quota_bytes: what the uploads and voices of one key may take together; 0 is no limit.
        access: who may name an upload, where keys are set: `key` for the key that uploaded it (and those with the
            scope admin), `id` for every key that knows its id.
        clamd: `tcp://host:3310` or `unix:///run/clamav/clamd.ctl`; empty scans nothing. Where it is set and does not
            answer, uploads are refused.
        receive_s: how long a client may take to send one.
        isolate: decode audio in separate processes, so that a crash or a limit ends such a process and not the service;
            `auto` does so if others can reach the port: `host` is not a loopback address, or `trusted_proxies` are set.
        from_urls: let requests name a reference by its https address; public addresses alone are fetched.
    """

    ttl_s: float = Field(default=24 * 3600.0, ge=0)
    quota_bytes: int = Field(default=0, ge=0)
    access: Literal["key", "id"] = "key"
    clamd: str = ""
    receive_s: float = Field(default=60.0, gt=0)
    isolate: Literal["auto"] | bool = "auto"
    from_urls: bool = False


class ConnectionSettings(ConfigModel):
    """What a client may hold before a route has looked at its request.

    Attributes:
        max: connections; one more takes the place of one that waits for its next request, or is refused with 503.
        header_bytes: of a request's address and headers together; a GET has its text there.
        header_s: how long they may take to arrive.
        body_s: how long a JSON body may take; `uploads.receive_s` is for uploads.
        idle_s: how long a WebSocket may say nothing while nothing is said to it.
    """

    max: int = Field(default=512, ge=1)
    header_bytes: int = Field(default=128 * 1024, ge=1024)
    header_s: float = Field(default=10.0, gt=0)
    body_s: float = Field(default=30.0, gt=0)
    idle_s: float = Field(default=600.0, gt=0)


class CacheSettings(ConfigModel):
    """Where finished answers are kept.

    Attributes:
        backend: `disk` for this machine, `redis` for replicas together, `off`.
        max_bytes: of the disk; what was used longest ago goes first.
        redis_url: `redis://[:password@]host[:port][/number]`.
        ttl_s: life of an answer in Redis.
    """

    backend: Annotated[Literal["disk", "redis", "off"], _OFF] = "disk"
    dir: Path = Path("cache")
    max_bytes: int = Field(default=2 * 2**30, ge=2**20)
    redis_url: SecretStr = SecretStr("")
    ttl_s: float = Field(default=24 * 3600.0, gt=0)


class SharingSettings(ConfigModel):
    """What replicas have in common beside answers, uploads and voices.

    Attributes:
        redis_url: of the Redis through which they share rate limits, bounds on concurrent syntheses, switches of
            weights, changes of the lexicon and equal requests; empty: each for itself.
    """

    redis_url: SecretStr = SecretStr("")


class ObjectSettings(ConfigModel):
    """Where the audio of `response: url` is kept, and what its links look like.

    Attributes:
        backend: `local` for a folder whose links this service answers, `s3` for a bucket, `off`.
        public_url: what links begin with: of this service as clients reach it (local), or of the store (s3).
        link_ttl_s: life of a link.
        max_bytes: of the linked files in a folder; the oldest go first, before their links expire. A bucket has its own
            rules.
        endpoint_url: of an S3 store that is not AWS.
        access_key_id, secret_access_key: where empty, from `AWS_*` variables or the machine's role.
        virtual_hosted: whether the bucket is part of the host's name, as Aliyun OSS asks for.
        share_voices: keep uploads and the voices of the first root in the store too, for all replicas.
        local_bytes: what this replica's copies of shared uploads may take.
    """

    backend: Annotated[Literal["local", "s3", "off"], _OFF] = "local"
    dir: Path = Path("objects")
    public_url: str = ""
    link_ttl_s: float = Field(default=3600.0, gt=0)
    max_bytes: int = Field(default=2 * 2**30, ge=2**20)
    bucket: str = ""
    prefix: str = ""
    endpoint_url: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    virtual_hosted: bool = False
    share_voices: bool = False
    local_bytes: int = Field(default=2**30, ge=2**20)


class JobSettings(ConfigModel):
    """Long texts, which are spoken while nobody waits for speech.

    Attributes:
        enabled: whether `/jobs` takes any.
        dir: of their database, fragments and files; one process at a time has it.
        slots: sequences that are decoded together, beside the `max_running` of requests.
        at_once: fragments in work at the same time.
        max_jobs: that one key may have, ended ones included; without keys all together.
        max_characters: of the text of a job.
        max_file_bytes: of an uploaded file.
        max_bytes: of the files of all jobs.
        ttl_s: how long a job is kept after its end.
    """

    enabled: bool = True
    dir: Path = Path("jobs")
    slots: int = Field(default=4, ge=1)
    at_once: int = Field(default=2, ge=1, le=64)
    max_jobs: int = Field(default=100, ge=1)
    max_characters: int = Field(default=2_000_000, ge=1)
    max_file_bytes: int = Field(default=50 * 2**20, ge=1024)
    max_bytes: int = Field(default=8 * 2**30, ge=2**20)
    ttl_s: float = Field(default=7 * 24 * 3600.0, gt=0)


class WyomingSettings(ConfigModel):
    """The TCP port for Home Assistant and Rhasspy.

    Attributes:
        port: 0 is off; 10200 is their usual one.
        as_key: name of the API key in whose place its clients stand, where keys are set: the protocol knows none.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    as_key: str = ""


class DialectSettings(ConfigModel):
    """Whose requests are answered beside those of api_v2.

    Attributes:
        api_v1: of api.py, the original's first server: speech at `/`, `/change_refer`, `/set_model`.
        sillytavern: of its providers for GPT-SoVITS, which speak at `/` too: their names of voices, and `/speakers`.
        openai: `/v1/audio/speech`, `/v1/models`, `/v1/audio/voices`.
        elevenlabs: `/v1/text-to-speech/{voice_id}`, `/v1/voices`.
        gsvi: characters with emotions at `/tts`, `/character_list`, `/infer_single` and its like.
        websocket: the service's own `/ws/tts`.
    """

    api_v1: bool = True
    sillytavern: bool = True
    openai: bool = True
    elevenlabs: bool = True
    gsvi: bool = True
    websocket: bool = True


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
    guard: Annotated[GuardMode, _OFF] = "off"
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
    cors_origins: TextList = ()
    allowed_hosts: TextList = ()
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
