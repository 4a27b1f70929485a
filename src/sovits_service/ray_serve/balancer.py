"""Choose the replica for a request: by its voice, weighed against queue lengths. Needs no Ray."""

from __future__ import annotations

import hashlib
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sovits_service.ray_serve.messages import Affinity

_REMEMBERED_VOICES = 128  # of each replica, as many as it remembers itself
_COMPARED = 16  # of each kind, where there are more than twice as many replicas
# Of the time that a replica needs for the speech it has queued, what a new request waits more for its first audio: it
# joins the batch at once. With shares of 0.1 to 0.3 benchmarks/fleet.py finds about the lowest 95th percentile.
_WAITED_SHARE = 0.2
_KNOWN_NAMES = 1 << 16
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Load:
    """What a router knows of a replica, of one request.

    Attributes:
        wait_s: that a new request's first audio comes later there, for the speech that is queued.
        has_voice, has_weights: whether the request's are warm there.
        encode_s, load_s: what a new voice costs it, and new weights.
    """

    replica_id: str
    wait_s: float
    has_voice: bool
    has_weights: bool
    encode_s: float
    load_s: float


def rank(affinity: Affinity, loads: Sequence[Load]) -> list[str]:
    """Replicas by what a request would wait there: for others, and for its voice and weights where they are cold.

    A voice that is warm nowhere has a home, by rendezvous hashing, which counts as if it were warm there: requests of
    one voice that come at once meet, and a voice has the same home again when replicas come and go.
    """
    homes = {load.replica_id: _weight(affinity.voice, load.replica_id) for load in loads}
    is_cold = not any(load.has_voice for load in loads)
    home = max(homes, key=homes.__getitem__, default="")

    def cost_s(load: Load) -> float:
        is_warm = load.has_voice or (is_cold and load.replica_id == home)
        return load.wait_s + (0.0 if is_warm else load.encode_s) + (0.0 if load.has_weights else load.load_s)

    return [load.replica_id for load in sorted(loads, key=lambda load: (cost_s(load), -homes[load.replica_id]))]


@dataclass(slots=True)
class _Replica:
    """A replica as one router sees it: `told` are its own `ReplicaLoad.routing_stats`, about a second old.

    Attributes:
        voices, weights: that it has told of.
        sent: voices that were sent there, and their weights.
        sent_s: seconds of speech of requests that were sent there and have not ended.
        since_s: seconds of speech that were sent there since it told.
    """

    told: Mapping[str, Any] = field(default_factory=dict)
    voices: Set[str] = frozenset()
    weights: Set[str] = frozenset()
    sent: OrderedDict[str, str] = field(default_factory=OrderedDict)
    sent_s: dict[str, float] = field(default_factory=dict)
    since_s: float = 0.0

    @property
    def queued_s(self) -> float:
        """Seconds of speech that it has to make: at least this router's own, whose end the router sees at once."""
        told_s: float = self.told.get("queued_s", 0.0)
        return max(told_s + self.since_s, sum(self.sent_s.values()))

    def has_voice(self, voice: str) -> bool:
        return voice in self.voices or voice in self.sent

    def has_weights(self, weights: str) -> bool:
        return not weights or weights in self.weights or weights in self.sent.values()


class VoiceBalancer:
    """Sends a request to the replica that has its voice warm, unless another would have spoken it earlier.

    What replicas tell is about a second old; what this balancer has sent since counts at once. Of many replicas it
    compares some: the home of a voice that is warm nowhere, up to 16 that have the voice warm, and 16 at random.

    Args:
        draw: chooses them.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        self._draw = draw or random.Random()  # noqa: S311 - no secret
        self._replicas: dict[str, _Replica] = {}
        self._ids: list[str] = []
        self._warm: dict[str, dict[str, None]] = {}  # voice -> replicas that have it, in the order they got it

    def update(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """These replicas are there, and this is what each has told last."""
        for gone in self._replicas.keys() - told.keys():
            self.forget(gone)
        for replica_id, stats in told.items():
            replica = self._replicas.setdefault(replica_id, _Replica())
            if replica.told != stats:
                replica.told, replica.since_s, before = stats, 0.0, replica.voices
                replica.voices, replica.weights = (
                    frozenset(stats.get("voices", ())),
                    frozenset(stats.get("weights", ())),
                )
                for voice in replica.voices - before:
                    self._warm.setdefault(voice, {})[replica_id] = None
                for voice in before - replica.voices:
                    self._cool(voice, replica_id)
        self._ids = list(self._replicas)

    def forget(self, replica_id: str) -> None:
        """A replica is gone."""
        replica = self._replicas.pop(replica_id, None)
        if replica is None:
            return
        self._ids.remove(replica_id)
        for voice in {*replica.voices, *replica.sent}:
            self._cool(voice, replica_id)

    def order(self, affinity: Affinity) -> list[str]:
        """Replicas for a request, the best first: all of them where there are few."""
        return rank(affinity, [self._load(affinity, replica_id) for replica_id in self._candidates(affinity)])

    def sent(self, affinity: Affinity, replica_id: str, request_id: str) -> None:
        """A replica has taken a request: its voice will be warm there."""
        replica = self._replicas.get(replica_id)
        if replica is None:
            return
        replica.sent[affinity.voice] = affinity.weights
        replica.sent.move_to_end(affinity.voice)
        self._warm.setdefault(affinity.voice, {})[replica_id] = None
        if len(replica.sent) > _REMEMBERED_VOICES:
            voice, _ = replica.sent.popitem(last=False)
            self._cool(voice, replica_id)
        replica.sent_s[request_id] = affinity.speech_s
        replica.since_s += affinity.speech_s

    def ended(self, replica_id: str, request_id: str) -> None:
        """A request has ended, however it did."""
        replica = self._replicas.get(replica_id)
        if replica is not None:
            replica.sent_s.pop(request_id, None)

    def _candidates(self, affinity: Affinity) -> list[str]:
        if len(self._ids) <= 2 * _COMPARED:
            return self._ids
        warm = list(self._warm.get(affinity.voice, ()))
        found = dict.fromkeys(self._draw.sample(warm, min(_COMPARED, len(warm))))
        if not warm:
            found[max(self._ids, key=lambda replica_id: _weight(affinity.voice, replica_id))] = None
        if affinity.weights:
            having = [name for name, replica in self._replicas.items() if replica.has_weights(affinity.weights)]
            found |= dict.fromkeys(self._draw.sample(having, min(_COMPARED, len(having))))
        found |= dict.fromkeys(self._draw.sample(self._ids, _COMPARED))
        return list(found)

    def _load(self, affinity: Affinity, replica_id: str) -> Load:
        replica = self._replicas[replica_id]
        told = replica.told
        return Load(
            replica_id,
            wait_s=replica.queued_s * told.get("factor", 0.3) * _WAITED_SHARE,
            has_voice=replica.has_voice(affinity.voice),
            has_weights=replica.has_weights(affinity.weights),
            encode_s=told.get("encode_s", 1.0),
            load_s=told.get("load_s", 10.0),
        )

    def _cool(self, voice: str, replica_id: str) -> None:
        """A replica tells no more of a voice, or was not sent it for long; the other may still hold."""
        replica = self._replicas.get(replica_id)
        if replica is not None and replica.has_voice(voice):
            return
        warm = self._warm.get(voice, {})
        warm.pop(replica_id, None)
        if not warm:
            self._warm.pop(voice, None)


def _weight(voice: str, replica_id: str) -> int:
    """A hash of both, the same in every process: the finalizer of SplitMix64 over one of each."""
    mixed = (_name_hash(voice) ^ _name_hash(replica_id)) * 0xBF58476D1CE4E5B9 & _MASK
    return (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK


@lru_cache(_KNOWN_NAMES)
def _name_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
