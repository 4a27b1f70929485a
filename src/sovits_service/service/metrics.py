"""What a service reports of its engine: counters for /metrics, and work that hangs."""

from __future__ import annotations

import structlog

from sovits_service.engine.engine import Engine
from sovits_service.service.model_store import ModelStore

log = structlog.get_logger(__name__)


class EngineWatch:
    """Tells work that hangs from work that takes long.

    Args:
        limit_s: how long one piece of work may take.
    """

    def __init__(self, engine: Engine, limit_s: float) -> None:
        self._engine = engine
        self._limit_s = limit_s
        self._stuck: list[str] = []

    def stuck_work(self) -> list[str]:
        """The kinds of work that hang now."""
        return self._engine.stuck_work(self._limit_s)

    async def look(self) -> None:
        """Log once when work hangs, and once when it continues after all. To be called every few seconds."""
        stuck = self.stuck_work()
        if stuck != self._stuck:
            if stuck:
                log.error("engine_stuck", work=stuck, limit_s=self._limit_s)
            else:
                log.info("engine_goes_on", work=self._stuck)
        self._stuck = stuck


def engine_metrics(engine: Engine, models: ModelStore) -> dict[str, float]:
    """The engine's counters and levels by the names of their metrics; `..._total` counts from the start."""
    stats = engine.stats()
    counters = stats.counters
    return {
        "queue_depth": stats.waiting_jobs,
        "active_requests": stats.active_jobs,
        "running_sequences": stats.running_sequences,
        "batch_occupancy": stats.running_sequences / models.slots,
        "device_memory_bytes": models.device_memory_bytes(),
        "semantic_tokens_total": counters.tokens,
        "decode_steps_total": counters.decode_steps,
        "audio_seconds_total": counters.audio_s,
        "cancelled_total": counters.cancelled,
        "expired_total": counters.expired,
        "failed_total": counters.failed,
        "prompts_known_total": counters.prompts_known,
        "prompts_encoded_total": counters.prompts_encoded,
        "prompt_encode_seconds_total": counters.prompt_encode_s,
        "rejected_total": stats.rejected,
        "takes_total": counters.takes,
        **{f"takes_{kind}_total": count for kind, count in counters.faults.items()},
    }
