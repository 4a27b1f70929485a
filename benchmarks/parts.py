"""The models by themselves: prefill, decode, waveform, prompt encoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from sovits_service.models.gpt import BERT_WIDTH
from sovits_service.types import ReferenceAudio

if TYPE_CHECKING:  # an earlier commit has not all of them
    from sovits_service.models.hubert import Hubert
    from sovits_service.models.semantic_model import SemanticSlots, TextEncoder
    from sovits_service.models.sovits.vits import Vits
    from sovits_service.service.loaded_models import Model

PROMPT_TOKENS, PROMPT_PHONEMES, TEXT_PHONEMES = 125, 45, 50  # a reference of 5 s, a sentence of 25 characters
SENTENCE_CHARACTERS = 20
DECODE_CONTEXT_TOKENS = 300
_PHONEMES = PROMPT_PHONEMES + TEXT_PHONEMES

Clock = Callable[[], float]  # seconds


def best_s(run: Callable[[], object], repeats: int, clock: Clock = time.perf_counter, *, warm_up: bool = True) -> float:
    """The shortest duration, after one run that warms up: other programs only ever delay."""
    if warm_up:
        run()
    times_s = []
    for _ in range(repeats):
        start_s = clock()
        run()
        times_s.append(clock() - start_s)
    return min(times_s)


@torch.inference_mode()
def measure_gpt(slots: SemanticSlots, clock: Clock) -> dict[str, float]:
    """Prefill in ms, decode in tokens per second by batch size."""
    results = {"gpt_prefill_ms": 1e3 * best_s(lambda: _prefill(slots, torch.zeros(_PHONEMES, BERT_WIDTH)), 7, clock)}
    for batch in (1, 4, 8, 16):
        tokens = torch.zeros(batch, dtype=torch.int64)
        positions = torch.full((batch,), DECODE_CONTEXT_TOKENS)
        step_s = best_s(lambda t=tokens, p=positions: slots.decode_step(t, p, p, 320), 25, clock)  # type: ignore[misc]
        results[f"gpt_decode_tokens_per_s_batch_{batch}"] = batch / step_s
    return results


def _prefill(slots: SemanticSlots, bert: torch.Tensor) -> torch.Tensor:
    return slots.prefill(torch.arange(len(bert)), bert, torch.arange(PROMPT_TOKENS), 0)


@torch.inference_mode()
def measure_bert(encode: TextEncoder, slots: SemanticSlots, clock: Clock) -> dict[str, float]:
    """Features of a text by its length in characters, each time another one; the shortest with its prefill, too."""
    results: dict[str, float] = {}
    for length in (SENTENCE_CHARACTERS, 50, 200):
        unread = _texts(length)
        results[f"bert_{length}_characters_ms"] = 1e3 * best_s(lambda u=unread: encode([next(u)]), 5, clock)  # type: ignore[misc]
    unread = _texts(SENTENCE_CHARACTERS)

    def prefill() -> torch.Tensor:
        (characters,) = encode([next(unread)])  # the reference's text is remembered with its voice
        phonemes = characters.repeat_interleave(2, 0)
        return _prefill(slots, torch.cat([torch.zeros(PROMPT_PHONEMES, BERT_WIDTH), phonemes]))

    results[f"bert_and_prefill_{SENTENCE_CHARACTERS}_characters_ms"] = 1e3 * best_s(prefill, 9, clock)
    return results


def _texts(length: int) -> Iterator[str]:
    return ("".join(chr(0x4E00 + (i * 7919 + j * 31) % 20000) for j in range(length)) for i in range(20))


@torch.inference_mode()
def measure_sovits(vits: Vits, clock: Clock, seconds: float = 5.0) -> dict[str, float]:
    """Seconds of work per second of audio, all stages from tokens to samples."""
    tokens = torch.randint(0, 1024, (1, int(25 * seconds)), generator=torch.Generator().manual_seed(0))
    phonemes = torch.arange(TEXT_PHONEMES)[None]
    style = vits.style_embedding([torch.rand(1, vits.config.ref_spec_bins, 250)])

    def run() -> torch.Tensor:
        prior = vits.encode(tokens, phonemes, style)
        return vits.vocode(vits.latents(prior, style, torch.randn_like(prior.mean)), style)

    return {"sovits_s_per_audio_s": best_s(run, 3, clock) / seconds}


@torch.inference_mode()
def measure_prompt(model: Model, hubert: Hubert, clock: Clock) -> dict[str, float]:
    """A new voice of 5 s: codes and style; the second time it costs nothing."""
    from sovits_service.engine.prompt_encoder import PromptEncoder

    samples = np.random.default_rng(0).standard_normal(5 * 32_000).astype(np.float32) * 0.1
    names = iter(range(1000))
    encoder = PromptEncoder(model.vits, hubert, None)

    def run() -> object:
        return encoder.encode([ReferenceAudio(samples, 32_000, str(next(names)))])

    return {"prompt_encoding_ms": 1e3 * best_s(run, 3, clock)}
