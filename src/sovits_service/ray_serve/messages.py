"""Messages between the ingress and the engines of a Ray cluster. Needs neither Ray nor models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sovits_service.storage.voices.upload_details import UploadDetails
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


def affinity_of(request: SynthesisRequest, weights: str) -> Affinity:
    """What a request finds warm, where it has spoken before."""
    names = (request.voice_id, request.emotion, request.ref_audio, *request.aux_ref_audio)
    wide = sum(character >= _FIRST_WIDE for character in request.text)
    speech_s = wide * _WIDE_CHARACTER_S + (len(request.text) - wide) * _NARROW_CHARACTER_S
    return Affinity(hashlib.sha256(repr(names).encode()).hexdigest()[:16], weights, speech_s / request.speed)
