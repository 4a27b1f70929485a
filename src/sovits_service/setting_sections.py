"""Sections of `service.yaml`, one class each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from sovits_service.config_file import ConfigModel

# Other readers of YAML make `off` false, and Helm writes that.
OFF = BeforeValidator(lambda value: "off" if str(value).lower() in ("false", "no", "off") else value)


class AdminSettings(ConfigModel):
    """Administration routes: `/control`, `/set_gpt_weights`, `/set_sovits_weights`, `/set_refer_audio`."""

    enabled: bool = False


KeyScope = Literal["synth", "upload", "admin"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ApiKeySettings(ConfigModel):
    """A key that clients may present. The key itself is nowhere: `printf %s "$KEY" | sha256sum` gives its hash.

    Attributes:
        name: for logs and rate limits.
        scopes: `synth` speaks and lists voices, `upload` adds references and voices, `admin` runs the service.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, BeforeValidator(_lower), Field(pattern=r"^[0-9a-f]{64}$")]
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
        isolate: decode audio and read documents of jobs in separate processes, so that a crash or a limit ends such a
            process and not the service;
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

    backend: Annotated[Literal["disk", "redis", "off"], OFF] = "disk"
    dir: Path = Path("cache")
    max_bytes: int = Field(default=2 * 2**30, ge=2**20)
    redis_url: SecretStr = SecretStr("")
    ttl_s: float = Field(default=24 * 3600.0, gt=0)


class SharingSettings(ConfigModel):
    """What replicas have in common beside answers, uploads and voices.

    Attributes:
        redis_url: of the Redis through which they share rate limits, bounds on concurrent syntheses, switches of
            weights, changes of the lexicon, equal requests and, with a store of objects, jobs; empty: each for itself.
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

    backend: Annotated[Literal["local", "s3", "off"], OFF] = "local"
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
        dir: of their database, fragments and files; one process at a time has it. Of copies of files where replicas
            share their jobs, see `SharingSettings`.
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
