"""Build the configured stores; optional clients are imported only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sovits_service.errors import MissingExtraError, SettingsError
from sovits_service.setting_sections import CacheSettings, ObjectSettings, SharingSettings
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects, ObjectStore
from sovits_service.storage.results.cache import ResultCache
from sovits_service.storage.results.disk_cache import DiskCache
from sovits_service.storage.voices.voice_folder import VoiceFolder

if TYPE_CHECKING:
    from sovits_service.storage.replicas.replicas import Replicas
    from sovits_service.storage.replicas.shared_flights import SharedFlights
    from sovits_service.storage.replicas.shared_limits import SharedLimits


@dataclass(frozen=True, slots=True)
class Stores:
    """What a process keeps, and shares with other replicas.

    Attributes:
        results: the cache of finished answers; None where it is off.
        objects: the store of linked files; None where it is off.
        replicas: None where this process is by itself.
    """

    results: ResultCache | None
    objects: ObjectStore | None
    replicas: Replicas | None

    @property
    def limits(self) -> SharedLimits | None:
        """Rate limits and bounds of all replicas."""
        return self.replicas.limits if self.replicas is not None else None

    @property
    def flights(self) -> SharedFlights | None:
        """Equal requests that some replica works on."""
        return self.replicas.flights if self.replicas is not None else None

    async def close(self) -> None:
        """Close the connections."""
        if self.results is not None:
            await self.results.close()
        if self.replicas is not None:
            await self.replicas.close()


def open_stores(settings: ServiceSettings) -> Stores:
    """The stores of the settings; raises as `open_cache`, `open_objects` and `open_replicas`."""
    return Stores(open_cache(settings.cache), open_objects(settings.objects), open_replicas(settings.sharing))


def open_cache(settings: CacheSettings) -> ResultCache | None:
    """The cache for finished answers; None where it is off.

    Raises:
        MissingExtraError: Redis is asked for, and its client is not installed.
        SettingsError: no usable URL.
    """
    if settings.backend == "off":
        return None
    if settings.backend == "disk":
        return DiskCache(settings.dir, settings.max_bytes)
    try:
        from sovits_service.storage.results.redis_cache import RedisCache
    except ModuleNotFoundError:
        raise MissingExtraError("cache.backend redis needs its client: pip install 'sovits-service[redis]'") from None
    return RedisCache(settings.redis_url.get_secret_value(), ttl_s=settings.ttl_s)


def open_replicas(settings: SharingSettings) -> Replicas | None:
    """What this process has in common with other replicas; None where it is for itself.

    Raises:
        MissingExtraError: Redis is asked for, and its client is not installed.
        SettingsError: no usable URL.
    """
    url = settings.redis_url.get_secret_value()
    if not url:
        return None
    try:
        from sovits_service.storage.replicas.replicas import Replicas
    except ModuleNotFoundError:
        raise MissingExtraError("sharing.redis_url needs its client: pip install 'sovits-service[redis]'") from None
    return Replicas(url)


def open_objects(settings: ObjectSettings) -> ObjectStore | None:
    """The store for files that are handed out by link; None where it is off.

    Raises:
        MissingExtraError: S3 is asked for, and its client is not installed.
        SettingsError: unusable settings.
    """
    if settings.backend == "off":
        return None
    if settings.backend == "local":
        return LocalObjects(
            settings.dir, f"{settings.public_url.rstrip('/')}/objects", max_linked_bytes=settings.max_bytes
        )
    if not settings.bucket:
        raise SettingsError("objects.backend s3 needs objects.bucket")
    try:
        from sovits_service.storage.objects.s3_objects import S3Objects
    except ModuleNotFoundError:
        raise MissingExtraError("objects.backend s3 needs its client: pip install 'sovits-service[s3]'") from None
    return S3Objects(
        settings.bucket,
        endpoint_url=settings.endpoint_url,
        public_url=settings.public_url,
        region=settings.region,
        access_key_id=settings.access_key_id,
        secret_access_key=settings.secret_access_key.get_secret_value(),
        prefix=settings.prefix,
        virtual_hosted=settings.virtual_hosted,
    )


def open_voices(settings: ServiceSettings) -> VoiceFolder:
    """The voice templates of all configured roots, and of the package where the settings offer those."""
    return VoiceFolder(
        settings.all_voices_roots,
        max_voices=settings.max_voices,
        max_aux=settings.max_aux_references,
        max_clip_bytes=settings.max_upload_bytes,
    )
