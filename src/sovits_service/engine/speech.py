"""The speech of one sequence in the making: tokens go into its wave stream, chunks for the reader come out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sovits_service.engine.guard import wave_faults
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.engine.streaming import next_feed
from sovits_service.engine.wave_decoder import WaveStream
from sovits_service.types import AudioChunk, FaultKind, FloatArray, PhonemeTimes


@dataclass(slots=True, eq=False)
class Speech:
    """A sequence's waves.

    Attributes:
        parts: samples of its fragment that are not sent yet.
        fed_tokens: how many tokens the stream was given.
        is_busy: a stage works on the stream or its sequence, which are not to be touched meanwhile.
        wave_faults: what its whole waveform shows, where that is looked at.
    """

    stream: WaveStream
    parts: list[FloatArray] = field(default_factory=list)
    fed_tokens: int = 0
    is_busy: bool = False
    wave_faults: tuple[FaultKind, ...] = ()

    @property
    def sequence(self) -> DecodeSequence:
        return self.stream.sequence

    @property
    def is_waiting(self) -> bool:
        """Whether waves can be made now."""
        return not self.is_busy and self.stream.has_work

    @property
    def is_whole(self) -> bool:
        """Whether all its waves are made."""
        return self.stream.is_final and not self.stream.has_work

    def feed(self) -> None:
        """Hand new tokens on, a chunk at a time."""
        stream = self.stream
        if self.is_busy or stream.has_work:
            return
        feed = next_feed(self.sequence, stream.emitted_tokens, stream.chunks, self.fed_tokens)
        if feed is not None:
            self.fed_tokens = feed.tokens
            stream.feed(self.sequence.tokens[: feed.tokens], is_final=feed.is_final)

    def examine(self, samples: FloatArray) -> None:
        """Look for faults in a judged waveform that these samples complete. Runs in a stage."""
        options = self.sequence.job.options
        if options.is_judged and self.is_whole and not options.streams_chunks:  # chunks are sent, not kept
            self.wave_faults = wave_faults(np.concatenate([*self.parts, samples]), self.stream.sample_rate_hz)

    def take(self, samples: FloatArray) -> AudioChunk | None:
        """Add new samples; returns what may be heard: chunks as they come, else the fragment when it is whole."""
        sequence, options = self.sequence, self.sequence.job.options
        if options.streams_chunks:
            samples = np.clip(samples, -1.0, 1.0)
        else:
            self.parts.append(samples)
            if not self.is_whole:
                return None
            samples = np.concatenate(self.parts)
            # parity: a fragment that would clip is scaled as a whole.
            samples = samples / max(1.0, float(np.abs(samples).max(initial=0.0)))
        is_last = self.is_whole and sequence.index == len(sequence.job.segments) - 1
        chunk = AudioChunk(samples, self.stream.sample_rate_hz, self.is_whole, is_last, fragment=sequence.index)
        if not self.is_whole:
            return chunk if len(samples) else None
        faults = sequence.kept.faults if sequence.kept else ()
        takes = len(sequence.takes) if options.is_judged else 0
        return replace(chunk, times=_times(sequence), takes=takes, faults=faults)


def _times(sequence: DecodeSequence) -> PhonemeTimes | None:
    alignment = sequence.kept.alignment if sequence.kept else None
    if alignment is None:
        return None
    confidence = tuple(round(float(value), 3) for value in alignment.phoneme_confidence)
    starts, ends = tuple(alignment.starts.tolist()), tuple(alignment.ends.tolist())
    return PhonemeTimes(starts, ends, confidence, len(sequence.tokens))
