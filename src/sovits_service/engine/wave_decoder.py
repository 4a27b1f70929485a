"""Decode semantic tokens to samples as they arrive; a stream's state is a value, the decoder has none."""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from sovits_service.audio.join import cross_fade
from sovits_service.engine.host import to_host
from sovits_service.engine.sequence import Sequence
from sovits_service.engine.streaming import quietest_frame
from sovits_service.models.sovits.vits import Vits
from sovits_service.types import FloatArray, Segment, VoicePrompt

NOISE_SCALE = 0.5
EMPTY: FloatArray = np.zeros(0, dtype=np.float32)
_NOISE_STREAM = 1  # keeps the generator of the noise apart from that of the tokens


class NoiseSource:
    """Standard normal noise of one sequence, drawn frame by frame: a longer piece begins as the shorter did."""

    def __init__(self, seed: int, index: int, channels: int) -> None:
        self._rng = np.random.default_rng([seed, index, _NOISE_STREAM])
        self._drawn = np.zeros((0, channels), dtype=np.float32)

    def frames(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """(channels, stop - start) of the noise."""
        missing = stop - len(self._drawn)
        if missing > 0:
            drawn = self._rng.standard_normal((missing, self._drawn.shape[1]), dtype=np.float32)
            self._drawn = np.concatenate([self._drawn, drawn])
        return np.ascontiguousarray(self._drawn[start:stop].T)


def text_ids(segment: Segment | None, device: torch.device) -> torch.Tensor | None:
    """(1, T) int64 phonemes of a segment for the encoder; None where there is no text."""
    if segment is None or not segment.phoneme_ids:
        return None
    return torch.tensor([segment.phoneme_ids], dtype=torch.int64).to(device)


class WaveStream(Protocol):
    """The speech of one sequence, in the making."""

    sequence: Sequence
    sample_rate_hz: int
    heard_tokens: int
    chunks: int
    is_final: bool

    @property
    def has_work(self) -> bool:
        """Whether `advance` would give more samples."""

    def feed(self, tokens: Row[int], *, is_final: bool) -> None:
        """The tokens up to the end of the next chunk and its overlap; with `is_final` there will be no more."""


StreamT = TypeVar("StreamT", bound=WaveStream)


class WaveDecoder(Protocol[StreamT]):
    """Makes speech of tokens; implemented for the VITS and for the flow-matching versions."""

    def open(self, sequence: Sequence, prompt: VoicePrompt) -> StreamT:
        """A stream for a sequence that has a voice."""

    def advance(self, streams: Row[StreamT]) -> list[FloatArray]:
        """One unit of work for each stream: the next samples, possibly none, in order."""

    def batch(self, streams: Row[StreamT]) -> Row[StreamT]:
        """Which of the waiting streams, the most urgent first, to advance together."""


@dataclass(slots=True, eq=False)
class VitsStream:
    """What one sequence has been given and has said.

    Attributes:
        cursor: the first frame that has not been said.
        tail: samples after the cursor as the last rendering had them; the next one fades over from them.
        latents: (1, channels, frames) of the tokens fed last; None when all of them is said.
        end: the frame that may be said now; beyond it more tokens would change the speech.
    """

    sequence: Sequence
    style: torch.Tensor
    phoneme_ids: torch.Tensor | None
    noise: NoiseSource
    sample_rate_hz: int
    heard_tokens: int = 0
    chunks: int = 0
    is_final: bool = False
    fed: Row[int] = ()
    cursor: int = 0
    end: int = 0
    tail: FloatArray = field(default_factory=lambda: EMPTY)
    latents: torch.Tensor | None = None

    @property
    def has_work(self) -> bool:
        return len(self.fed) > 0

    def feed(self, tokens: Row[int], *, is_final: bool) -> None:
        self.fed = tuple(tokens)
        self.is_final = is_final
        self.latents = None


class VitsWaveDecoder:
    """Streams the waveform of v1 to v2ProPlus.

    Each time there are new tokens the prior and the flow, which are cheap, run over all tokens so far; the generator,
    which is expensive, runs over the new frames alone, with the context that makes them equal to the whole.

    Args:
        window_frames: that the generator takes at a time, context included. Longer windows have less context between
            them, but take more memory, which is kept for the next.
    """

    def __init__(self, model: Vits, sample_rate_hz: int, *, window_frames: int = 160) -> None:
        self.model = model
        self._rate_hz = sample_rate_hz
        self._window_frames = window_frames
        weight = model.ssl_proj.weight
        self._device, self._dtype = weight.device, weight.dtype

    def open(self, sequence: Sequence, prompt: VoicePrompt) -> VitsStream:
        return VitsStream(
            sequence=sequence,
            style=prompt.style_embedding,
            phoneme_ids=text_ids(sequence.segment, self._device),
            noise=NoiseSource(sequence.job.options.seed, sequence.index, self.model.config.inter_channels),
            sample_rate_hz=self._rate_hz,
        )

    def batch(self, streams: Row[VitsStream]) -> Row[VitsStream]:
        return streams[:1]  # one after the other: the generator fills a device by itself, and nothing is padded

    def advance(self, streams: Row[VitsStream]) -> list[FloatArray]:
        return [self._advance(stream) for stream in streams]

    @torch.inference_mode()
    def _advance(self, stream: VitsStream) -> FloatArray:
        if stream.latents is None:
            stream.latents = self._draw_latents(stream)
            frames = stream.latents.shape[2]
            held_back = 0 if stream.is_final else self._overlap_frames(stream)
            stream.end = max(stream.cursor, frames - held_back)
        start, frames = stream.cursor, stream.latents.shape[2]
        is_last_window, stop = self._window(start, stream.end, frames)
        samples = self._vocode(stream, start, stop)
        if len(stream.tail):
            overlap = min(len(stream.tail), len(samples))
            samples[:overlap] = cross_fade(stream.tail[:overlap], samples[:overlap])
            stream.tail = EMPTY
        stream.cursor = stop
        if is_last_window:
            samples = self._finish_feed(stream, samples, start)
        return samples

    def _window(self, start: int, end: int, frames: int) -> tuple[bool, int]:
        """Whether a window from `start` reaches `end` of the frames, and where it stops."""
        context = self.model.vocode_context_frames
        room = self._window_frames - min(start, context)
        if frames - start <= room or end - start <= room - context:
            return True, frames
        return False, start + max(1, room - context)

    def _finish_feed(self, stream: VitsStream, samples: FloatArray, start: int) -> FloatArray:
        """All frames of this feed are rendered: hold back what the next one may change."""
        hop, end = self.model.hop_samples, stream.end
        if not stream.is_final and end > start and stream.sequence.job.options.streaming_mode == 2:
            middle = (end - start) // 2
            end = start + quietest_frame(samples, hop, max(1, middle), end - start)
        spoken, held_back = np.split(samples, [(end - start) * hop])
        if not stream.is_final:
            stream.tail = held_back[: self._overlap_frames(stream) * hop]
        stream.heard_tokens = int(end / self.model.frames_per_token * stream.sequence.job.options.speed)
        stream.cursor = end
        stream.chunks += 1
        stream.latents, stream.fed = None, ()
        return spoken

    def _overlap_frames(self, stream: VitsStream) -> int:
        options = stream.sequence.job.options
        return max(1, round(options.overlap_tokens * self.model.frames_per_token / options.speed))

    def _draw_latents(self, stream: VitsStream) -> torch.Tensor:
        tokens = torch.tensor([stream.fed], dtype=torch.int64).to(self._device)
        speed = stream.sequence.job.options.speed
        prior = self.model.encode(tokens, stream.phoneme_ids, stream.style, speed=speed)
        noise = torch.from_numpy(stream.noise.frames(0, prior.mean.shape[2]))[None]
        return self.model.latents(prior, stream.style, noise.to(self._device, self._dtype), NOISE_SCALE)

    def _vocode(self, stream: VitsStream, start: int, stop: int) -> FloatArray:
        assert stream.latents is not None
        wave = self.model.vocode_window(stream.latents, stream.style, start, stop)[0, 0]
        samples: FloatArray = to_host(wave.float())
        return samples.copy()
