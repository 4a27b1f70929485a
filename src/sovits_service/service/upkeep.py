"""What a service does at intervals beside its requests."""

from __future__ import annotations

import asyncio

from sovits_service.native_memory import return_free_memory
from sovits_service.service.metrics import EngineWatch
from sovits_service.service.periodic import PeriodicWork
from sovits_service.service.switches import Switches
from sovits_service.service.voice_library import VoiceLibrary
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.stores import Stores

_SWEEP_INTERVAL_S = 600.0
_VOICES_POLL_INTERVAL_S = 3.0
_LEXICON_POLL_INTERVAL_S = 3.0
_SWITCHES_POLL_INTERVAL_S = 1.0
_RETURN_MEMORY_INTERVAL_S = 5.0
_WATCH_INTERVAL_S = 5.0
_BEFORE_START = ("follow_voices", "sweep_uploads", "sweep_objects")


def recurring_work(
    library: VoiceLibrary, stores: Stores, switches: Switches, watch: EngineWatch, link_ttl_s: float
) -> PeriodicWork:
    """All that is done at intervals; the names are those of its metrics.

    Args:
        link_ttl_s: life of a linked file.
    """

    async def sweep_objects() -> None:
        if isinstance(stores.objects, LocalObjects):  # a bucket's own lifecycle rule deletes those in it
            await asyncio.to_thread(stores.objects.sweep, "audio", link_ttl_s)

    work = PeriodicWork()
    work.add("sweep_uploads", library.clips.sweep, _SWEEP_INTERVAL_S)
    work.add("sweep_objects", sweep_objects, _SWEEP_INTERVAL_S)
    work.add("follow_voices", library.voices.follow, _VOICES_POLL_INTERVAL_S)
    work.add("watch_engine", watch.look, _WATCH_INTERVAL_S)
    work.add("follow_lexicon", switches.refresh_lexicon, _LEXICON_POLL_INTERVAL_S)
    if stores.replicas is not None:
        work.add("follow_switches", switches.follow, _SWITCHES_POLL_INTERVAL_S)
    work.add("return_memory", lambda: asyncio.to_thread(return_free_memory), _RETURN_MEMORY_INTERVAL_S)
    return work


async def run_before_start(work: PeriodicWork) -> None:
    """What has to be done once before the first request."""
    for name in _BEFORE_START:
        await work.run(name)
