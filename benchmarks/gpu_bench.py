"""What the parts of `make gpu` share: sizes, sequences without an engine, an engine with listeners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_models import Maker
from sovits_service.deadline import Deadline
from sovits_service.engine.engine import Engine
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import DecodeSequence, Job, JobOptions
from sovits_service.errors import OverloadedError
from sovits_service.types import SamplingParams

PHONEMES, PROMPT_TOKENS = 50, 75


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts share.

    Attributes:
        batches, streams: how many sequences and listeners at a time.
        tokens: of a sentence: 125 are 5 s.
    """

    maker: Maker
    batches: tuple[int, ...]
    streams: tuple[int, ...]
    tokens: int
    rounds: int

    @property
    def device(self) -> torch.device:
        return self.maker.device

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def allocated_mb(self) -> float:
        return torch.cuda.memory_allocated(self.device) / 2**20 if self.is_cuda else 0.0

    def reserved_mb(self) -> float:
        """What torch holds, graphs included, but for what it keeps for later."""
        self.maker.queue.free_memory()
        return torch.cuda.memory_reserved(self.device) / 2**20 if self.is_cuda else 0.0

    def options(self, seed: int, mode: int = 0, tokens: int | None = None) -> JobOptions:
        sampling = SamplingParams(max_new_tokens=tokens or self.tokens)
        return JobOptions(sampling, seed=seed, streaming_mode=mode, cfm_steps=8)

    def sequence(self, seed: int, slot: int, tokens: int) -> DecodeSequence:
        """A sequence in a slot, outside of an engine."""
        loop = asyncio.new_event_loop()
        loop.close()
        maker = self.maker
        job = Job([maker.segment(seed)], maker.segment(1000 + seed, 40), [], self.options(seed, tokens=tokens), 1, loop)
        sequence = job.start_next()
        sequence.slot = slot
        return sequence

    def prefill(self, runner: SemanticRunner, sequences: Iterable[DecodeSequence]) -> None:
        bert = torch.zeros(PHONEMES + 40, 1024, device=self.device, dtype=self.maker.dtype)
        prompt_tokens = torch.arange(PROMPT_TOKENS, device=self.device) % 60
        for batch in runner.batches([runner.admit(sequence, bert, prompt_tokens) for sequence in sequences]):
            runner.prefill(batch)


class Speaking:
    """An engine with one worker, started.

    Args:
        is_batching: prefills and waves in batches of whatever waits, as without `deterministic`.
        captures_waves: whether the networks that make waves are captured.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        slots: int,
        version: Any = "v2Pro",
        is_batching: bool = False,
        captures_waves: bool = True,
    ) -> None:
        self._bench = bench
        self.engine = Engine(max_jobs=1024)
        self._worker: ModelWorker = bench.maker.worker(
            bench.maker.gpt(),
            slots,
            self.engine.counters,
            version,
            is_deterministic=not is_batching,
            max_batch=8 if is_batching else 1,
            captures_waves=captures_waves,
        )

    def __enter__(self) -> Speaking:
        self.engine.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.engine.stop(5.0)
        del self._worker

    def _chunks(self, seed: int, voice: int, mode: int, tokens: int | None) -> AsyncIterator[Any]:
        maker = self._bench.maker
        options = self._bench.options(seed, mode, tokens)
        segments = [maker.segment(seed), maker.segment(seed + 1)]
        prompt, reference = maker.segment(7, 40), maker.voice(voice)
        deadline = Deadline(60.0)
        return self.engine.synthesize(
            self.engine.admit(), self._worker, segments, prompt, [reference], options, deadline
        )

    async def say(self, seed: int, *, voice: int = 1, mode: int = 3, tokens: int | None = None) -> float:
        """Seconds of audio in a whole answer."""
        chunks = [chunk async for chunk in self._chunks(seed, voice, mode, tokens)]
        return sum(len(chunk.samples) / chunk.sample_rate_hz for chunk in chunks)

    async def listen(self, count: int, mode: int = 3) -> tuple[list[float], float]:
        """Seconds until each of so many listeners hears something, and seconds of audio that all of them got."""

        async def one(seed: int) -> tuple[float, float]:
            start_s, first_s, audio_s = time.perf_counter(), 0.0, 0.0
            async for chunk in self._chunks(seed, 1 + seed % 4, mode, None):
                first_s = first_s or time.perf_counter() - start_s
                audio_s += len(chunk.samples) / chunk.sample_rate_hz
            return first_s, audio_s

        done = await asyncio.gather(*(one(seed) for seed in range(count)))
        return [first_s for first_s, _ in done], sum(audio_s for _, audio_s in done)

    async def leave(self, count: int) -> None:
        """Listeners that go away after their first chunk, 25 at a time."""

        async def one(seed: int) -> None:
            chunks = self._chunks(seed, 1, 3, None)
            async for _ in chunks:
                break
            await chunks.aclose()  # type: ignore[attr-defined]

        for start in range(0, count, 25):
            await asyncio.gather(*(one(seed) for seed in range(start, min(start + 25, count))))

    def say_without_memory(self) -> bool:
        """Whether a new voice is refused, and not more than that, while another program holds the memory."""
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._bench.device)
        held = torch.empty(max(0, free - 32 * 2**20), dtype=torch.uint8, device=self._bench.device)
        try:
            asyncio.run(self.say(3, voice=99))
        except OverloadedError:
            return True
        finally:
            del held
            torch.cuda.empty_cache()
        return False
