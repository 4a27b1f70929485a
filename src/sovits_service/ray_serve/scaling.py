"""How many replicas there are to be: by the seconds of speech that are asked for and not made yet."""

from __future__ import annotations

from typing import Any

_USUAL_SPEECH_S = 5.0  # of a request that no replica has taken yet


def by_queued_speech(context: Any, queued_speech_s: float = 60.0) -> tuple[float, dict[str, Any]]:
    """A policy of Serve's autoscaling; Serve applies bounds and delays to it.

    Args:
        context: Serve's `AutoscalingContext`.
        queued_speech_s: what one replica should have before it.

    Returns:
        The number of replicas that is wanted, and no state.
    """
    told = (context.aggregated_metrics or {}).get("queued_speech_s", {})
    total_s = sum(told.values()) + context.total_queued_requests * _USUAL_SPEECH_S
    return max(context.capacity_adjusted_min_replicas, total_s / queued_speech_s), {}
