"""The store that the settings ask for; the client of Redis is imported only where it is needed."""

from __future__ import annotations

from sovits_service.errors import MissingExtraError
from sovits_service.jobs.local_store import LocalStore
from sovits_service.jobs.store import JobStore
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import ObjectStore


def open_store(settings: ServiceSettings, objects: ObjectStore | None) -> JobStore:
    """Shared by all replicas where the settings allow it, else of this process alone. Raises as `open_shared_store`."""
    return open_shared_store(settings, objects) or LocalStore(settings.jobs.dir, settings.jobs.max_jobs)


def open_shared_store(settings: ServiceSettings, objects: ObjectStore | None) -> JobStore | None:
    """The store of all replicas; None without `sharing.redis_url` or a store of objects.

    Raises:
        MissingExtraError: the client of Redis is not installed.
        SettingsError: no usable URL.
    """
    url, jobs = settings.sharing.redis_url.get_secret_value(), settings.jobs
    if not url or objects is None:
        return None
    try:
        from sovits_service.jobs.shared_store import SharedStore
        from sovits_service.storage.replicas.redis_link import RedisLink
    except ModuleNotFoundError:
        raise MissingExtraError("sharing.redis_url needs its client: pip install 'sovits-service[redis]'") from None
    return SharedStore(RedisLink(url, name="jobs"), objects, jobs.dir, jobs.max_jobs)
