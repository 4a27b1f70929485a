"""Messages between the ingress and the engines of a Ray cluster. Needs neither Ray nor models."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sovits_service.storage.references import UploadDetails
from sovits_service.types import Fingerprint, ModelVersion, SynthesisRequest

_WIDE_CHARACTER_S, _NARROW_CHARACTER_S = 0.22, 0.065  # of speech, in the usual tempo; kana and hanzi are wide
_FIRST_WIDE = "\u2e80"


@dataclass(frozen=True, slots=True)
class Affinity:
    """What a request finds warm on one replica and not on another.

    Attributes:
        voice: names the clips that it is spoken with; the same name is the same prompt.
        weights: names those that its voice asks for; empty where it speaks with the current ones.
        speech_s: how long the speech will be, estimated.
    """

    voice: str
    weights: str
    speech_s: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """The head of a synthesis whose first chunk exists.

    Attributes:
        fingerprint: what it is spoken with; None where that changed while it began.
    """

    sample_rate_hz: int
    seed: int
    dropped_characters: int
    warnings: tuple[str, ...]
    fingerprint: Fingerprint | None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine as it was a moment ago."""

    version: ModelVersion
    computation: Mapping[str, str]
    default_reference: str | None
    default_details: UploadDetails
    stats: Mapping[str, float]
    periodic_failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Load:
    """What a router knows of a replica.

    Attributes:
        wait_s: until a new request would be worked on.
        voices, weights: what it has warm.
        encode_s, load_s: what a new voice costs it, and new weights.
    """

    replica_id: str
    wait_s: float
    voices: Collection[str]
    weights: Collection[str]
    encode_s: float
    load_s: float


def affinity_of(request: SynthesisRequest, weights: str) -> Affinity:
    """What a request finds warm, where it has spoken before."""
    names = (request.voice_id, request.emotion, request.ref_audio, *request.aux_ref_audio)
    wide = sum(character >= _FIRST_WIDE for character in request.text)
    speech_s = wide * _WIDE_CHARACTER_S + (len(request.text) - wide) * _NARROW_CHARACTER_S
    return Affinity(hashlib.sha256(repr(names).encode()).hexdigest()[:16], weights, speech_s / request.speed)


def rank(affinity: Affinity, loads: Sequence[Load]) -> list[str]:
    """Replicas by what a request would wait there: for others, and for its voice and weights where they are cold.

    A voice that is warm nowhere has a home, by rendezvous hashing, which counts as if it were warm there: requests of
    one voice that come at once meet, and a voice has the same home again when replicas come and go.
    """
    homes = {load.replica_id: _weight(affinity.voice, load.replica_id) for load in loads}
    is_cold = not any(affinity.voice in load.voices for load in loads)
    home = max(homes, key=homes.__getitem__, default="")

    def cost_s(load: Load) -> float:
        is_warm = affinity.voice in load.voices or (is_cold and load.replica_id == home)
        lacks_weights = bool(affinity.weights) and affinity.weights not in load.weights
        return load.wait_s + (0.0 if is_warm else load.encode_s) + (load.load_s if lacks_weights else 0.0)

    return [load.replica_id for load in sorted(loads, key=lambda load: (cost_s(load), -homes[load.replica_id]))]


def _weight(voice: str, replica_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{voice}\0{replica_id}".encode(), digest_size=8).digest(), "big")
