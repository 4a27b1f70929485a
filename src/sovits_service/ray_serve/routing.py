"""Serve's request router: prefers the replica that has the voice warm, weighed against queue lengths."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from sovits_service.ray_serve.messages import Affinity, Load, rank

_REMEMBERED_VOICES = 128


class VoiceRouter(RequestRouter):  # type: ignore[misc] # Ray has no types here
    """Sends a request to the replica that has its voice warm, unless another would have spoken earlier.

    What replicas tell (`SpeechEngine.record_routing_stats`) is about a second old; what this router has sent since
    counts at once.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        """Called by Serve with `request_router_kwargs`, before anything else."""
        self._is_random = bool(kwargs.get("is_random"))
        self._sent_voices: dict[Any, OrderedDict[str, str]] = {}
        self._sent_s: dict[Any, dict[str, float]] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Each of them, the best first; one that is full passes the request on to the next."""
        affinity = _affinity(pending_request)
        if affinity is None or self._is_random:
            return [[replica] for replica in random.sample(candidate_replicas, len(candidate_replicas))]
        loads = [self._load(replica) for replica in candidate_replicas]
        by_id = {str(replica.replica_id): replica for replica in candidate_replicas}
        return [[by_id[replica_id]] for replica_id in rank(affinity, loads)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: Any, result: Any) -> None:
        """A replica has taken a request: its voice will be warm there."""
        affinity = _affinity(pending_request)
        if affinity is None:
            return
        voices = self._sent_voices.setdefault(replica_id, OrderedDict())
        voices[affinity.voice] = affinity.weights
        voices.move_to_end(affinity.voice)
        if len(voices) > _REMEMBERED_VOICES:
            voices.popitem(last=False)
        self._sent_s.setdefault(replica_id, {})[pending_request.metadata.internal_request_id] = affinity.speech_s

    def on_request_completed(self, replica_id: Any, internal_request_id: str) -> None:
        """Called whenever a request has ended, however it did."""
        self._sent_s.get(replica_id, {}).pop(internal_request_id, None)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Called when replicas come and go, and with what they tell."""
        super().update_replicas(replicas)
        alive = {replica.replica_id for replica in replicas}
        for known in (self._sent_voices, self._sent_s):
            for replica_id in [*known.keys() - alive]:
                del known[replica_id]

    def _load(self, replica: RunningReplica) -> Load:
        told: dict[str, Any] = replica.routing_stats or {}
        sent: Mapping[str, str] = self._sent_voices.get(replica.replica_id, {})
        sent_s = sum(self._sent_s.get(replica.replica_id, {}).values())
        return Load(
            replica_id=str(replica.replica_id),
            wait_s=max(told.get("wait_s", 0.0), sent_s * told.get("factor", 0.3)),
            voices={*told.get("voices", ()), *sent},
            weights={*told.get("weights", ()), *sent.values()},
            encode_s=told.get("encode_s", 1.0),
            load_s=told.get("load_s", 10.0),
        )


def _affinity(request: PendingRequest | None) -> Affinity | None:
    found = request.kwargs.get("affinity") if request is not None else None
    return found if isinstance(found, Affinity) else None
