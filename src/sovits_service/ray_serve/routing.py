"""Serve's request router: prefers the replica that has the voice warm, weighed against queue lengths."""

from __future__ import annotations

import random
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from sovits_service.ray_serve.balancer import VoiceBalancer
from sovits_service.ray_serve.messages import Affinity


class VoiceRouter(RequestRouter):  # type: ignore[misc] # Ray has no types here
    """Serve's calls to a VoiceBalancer, which decides."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Called by Serve with `request_router_kwargs`, before anything else."""
        self._is_random = bool(kwargs.get("is_random"))
        self._balancer = VoiceBalancer()
        self._by_id: dict[str, RunningReplica] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Some of them, the best first; one that is full passes the request on to the next."""
        affinity = _affinity(pending_request)
        if affinity is None or self._is_random:
            return [[replica] for replica in random.sample(candidate_replicas, len(candidate_replicas))]
        return [[self._by_id[replica_id]] for replica_id in self._balancer.order(affinity)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: Any, result: Any) -> None:
        """A replica has taken a request: its voice will be warm there."""
        affinity = _affinity(pending_request)
        if affinity is not None:
            self._balancer.sent(affinity, replica_id.unique_id, pending_request.metadata.internal_request_id)

    def on_request_completed(self, replica_id: Any, internal_request_id: str) -> None:
        """Called whenever a request has ended, however it did."""
        self._balancer.ended(replica_id.unique_id, internal_request_id)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Called when replicas come and go, and with what they tell."""
        super().update_replicas(replicas)
        self._by_id = {replica.replica_id.unique_id: replica for replica in replicas}
        self._balancer.update({name: replica.routing_stats or {} for name, replica in self._by_id.items()})

    def on_replica_actor_died(self, replica_id: Any) -> None:
        """Called before Serve itself has noticed."""
        super().on_replica_actor_died(replica_id)
        self._balancer.forget(replica_id.unique_id)


def _affinity(request: PendingRequest | None) -> Affinity | None:
    found = request.kwargs.get("affinity") if request is not None else None
    return found if isinstance(found, Affinity) else None
