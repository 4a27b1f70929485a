"""Totals of all workers since the start."""

from __future__ import annotations

from dataclasses import dataclass, field

from sovits_service.types import FAULT_KINDS, FaultKind


@dataclass(slots=True)
class Counters:
    """What metrics count; written by the engine loop alone."""

    tokens: int = 0
    decode_steps: int = 0
    audio_s: float = 0.0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0
    prompts_known: int = 0
    prompts_encoded: int = 0
    prompt_encode_s: float = 0.0
    takes: int = 0
    faults: dict[FaultKind, int] = field(default_factory=lambda: dict.fromkeys(FAULT_KINDS, 0))
