"""Autoscaling policy: the number of replicas follows the seconds of speech that are queued."""

from __future__ import annotations

from typing import Any

_USUAL_SPEECH_S = 5.0  # of a request that no replica has taken yet


class ByQueuedSpeech:
    """A policy of Serve's autoscaling, which applies bounds and delays to what it wants.

    Args:
        queued_speech_s: what one replica should have before it.
    """

    def __init__(self, queued_speech_s: float) -> None:
        self._queued_speech_s = queued_speech_s

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """The number of replicas that is wanted, and no state.

        Args:
            context: Serve's `AutoscalingContext`.
        """
        told = (context.aggregated_metrics or {}).get("queued_speech_s", {})
        total_s = sum(told.values()) + context.total_queued_requests * _USUAL_SPEECH_S
        return max(context.capacity_adjusted_min_replicas, total_s / self._queued_speech_s), {}
