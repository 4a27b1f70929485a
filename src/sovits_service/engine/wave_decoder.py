"""Decode semantic tokens to samples as they arrive; a stream's state is a value, the decoder has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from sovits_service.audio.join import cross_fade
from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.engine.host import to_host
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.engine.streaming import quietest_frame
from sovits_service.engine.wave_graphs import VitsGraphs
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

    sequence: DecodeSequence
    sample_rate_hz: int
    emitted_tokens: int
    chunks: int
    is_final: bool

    @property
    def has_work(self) -> bool:
        """Whether `advance` would give more samples."""

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """The tokens up to the end of the next chunk and its overlap; with `is_final` there will be no more."""


StreamT = TypeVar("StreamT", bound=WaveStream)
Item = TypeVar("Item")
Made = TypeVar("Made")


class WaveDecoder(Protocol[StreamT]):
    """Makes speech of tokens; implemented for the VITS and for the flow-matching versions."""

    def open(self, sequence: DecodeSequence, prompt: VoicePrompt) -> StreamT:
        """A stream for a sequence that has a voice."""

    def advance(self, streams: Sequence[StreamT]) -> list[FloatArray]:
        """One unit of work for each stream: the next samples, possibly none, in order."""

    def batch(self, streams: Sequence[StreamT]) -> Sequence[StreamT]:
        """Which of the waiting streams, the most urgent first, to advance together."""


@dataclass(slots=True, eq=False)
class VitsStream:
    """What one sequence has been given and has said.

    Attributes:
        cursor: the first frame that has not been said.
        tail: samples after the cursor as the last rendering had them; the next one fades over from them.
        latents: (1, channels, frames) of the tokens fed last; None when all of them is said.
    """

    sequence: DecodeSequence
    style: torch.Tensor
    phoneme_ids: torch.Tensor | None
    noise: NoiseSource
    sample_rate_hz: int
    emitted_tokens: int = 0
    chunks: int = 0
    is_final: bool = False
    fed: Sequence[int] = ()
    cursor: int = 0
    tail: FloatArray = field(default_factory=lambda: EMPTY)
    latents: torch.Tensor | None = None

    @property
    def has_work(self) -> bool:
        return len(self.fed) > 0

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        self.fed = tuple(tokens)
        self.is_final = is_final
        self.latents = None


@dataclass(frozen=True, slots=True)
class _Window:
    """Frames `start` to `stop` of a stream; beyond `end` more tokens would change the speech."""

    start: int
    stop: int
    end: int
    is_last_of_feed: bool


class VitsWaveDecoder:
    """Streams the waveform of v1 to v2ProPlus.

    Each time there are new tokens the prior and the flow, which are cheap, run over all tokens so far; the generator,
    which is expensive, runs over the new frames alone, with the context that makes them equal to the whole.

    Args:
        window_frames: that the generator takes at a time, context included. Longer windows have less context between
            them, but take more memory, which is kept for the next.
        max_batch: windows in a batch, see `windows_together`.
        queue: of the model's device, in which the generator and the flow are captured; None runs them as they are.
    """

    def __init__(
        self,
        model: Vits,
        sample_rate_hz: int,
        *,
        window_frames: int = 160,
        max_batch: int = 1,
        queue: DeviceQueue | None = None,
    ) -> None:
        self.model = model
        self._rate_hz = sample_rate_hz
        self._window_frames = window_frames
        weight = model.ssl_proj.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._max_batch = max_batch
        self._captured = VitsGraphs(model, queue, max_batch, window_frames)

    def open(self, sequence: DecodeSequence, prompt: VoicePrompt) -> VitsStream:
        return VitsStream(
            sequence=sequence,
            style=prompt.style_embedding,
            phoneme_ids=text_ids(sequence.segment, self._device),
            noise=NoiseSource(sequence.job.options.seed, sequence.index, self.model.config.inter_channels),
            sample_rate_hz=self._rate_hz,
        )

    def batch(self, streams: Sequence[VitsStream]) -> Sequence[VitsStream]:
        """The most urgent stream, and those behind it whose next windows are as long: nothing is padded."""
        if self._max_batch == 1:
            return streams[:1]
        length = self._generator_frames(streams[0])
        return [stream for stream in streams if self._generator_frames(stream) == length][: self._max_batch]

    @torch.inference_mode()
    def advance(self, streams: Sequence[VitsStream]) -> list[FloatArray]:
        self._draw_latents([stream for stream in streams if stream.latents is None])
        windows = [self._window(stream) for stream in streams]
        waves = self._vocode(streams, windows)
        return [self._speak(*each) for each in zip(streams, windows, waves, strict=True)]

    def _speak(self, stream: VitsStream, window: _Window, samples: FloatArray) -> FloatArray:
        """Take a window's samples over, and give those that are settled."""
        if len(stream.tail):
            overlap = min(len(stream.tail), len(samples))
            samples[:overlap] = cross_fade(stream.tail[:overlap], samples[:overlap])
            stream.tail = EMPTY
        stream.cursor = window.stop
        return self._finish_feed(stream, samples, window) if window.is_last_of_feed else samples

    def _frames(self, stream: VitsStream) -> int:
        """Latent frames of all tokens fed."""
        return self.model.frame_count(len(stream.fed), stream.sequence.job.options.speed)

    def _window(self, stream: VitsStream) -> _Window:
        """The next window, the last of its feed where it reaches the end of what may be said."""
        frames, start, context = self._frames(stream), stream.cursor, self.model.vocode_context_frames
        end = max(start, frames - (0 if stream.is_final else self._overlap_frames(stream)))
        room = self._window_frames - min(start, context)
        if frames - start <= room or end - start <= room - context:
            return _Window(start, frames, end, is_last_of_feed=True)
        return _Window(start, start + max(1, room - context), end, is_last_of_feed=False)

    def _generator_frames(self, stream: VitsStream) -> int:
        """How long a stream's next window is with its context."""
        window = self._window(stream)
        first, last = self.model.with_context(window.start, window.stop, self._frames(stream))
        return last - first

    def _finish_feed(self, stream: VitsStream, samples: FloatArray, window: _Window) -> FloatArray:
        """All frames of this feed are rendered: hold back what the next one may change."""
        hop, start, end = self.model.hop_samples, window.start, window.end
        if not stream.is_final and end > start and stream.sequence.job.options.streaming_mode == 2:
            middle = (end - start) // 2
            end = start + quietest_frame(samples, hop, max(1, middle), end - start)
        spoken, held_back = np.split(samples, [(end - start) * hop])
        if not stream.is_final:
            stream.tail = held_back[: self._overlap_frames(stream) * hop]
        stream.emitted_tokens = int(end / self.model.frames_per_token * stream.sequence.job.options.speed)
        stream.cursor = end
        stream.chunks += 1
        stream.latents, stream.fed = None, ()
        return spoken

    def _overlap_frames(self, stream: VitsStream) -> int:
        options = stream.sequence.job.options
        return max(1, round(options.overlap_tokens * self.model.frames_per_token / options.speed))

    def _draw_latents(self, streams: Sequence[VitsStream]) -> None:
        """Latents of all tokens fed, of those with a text and those without one."""
        for has_text in (True, False):
            alike = [stream for stream in streams if (stream.phoneme_ids is not None) == has_text]
            if alike:
                for stream, latents in zip(alike, together_or_alone(self._draw, alike), strict=True):
                    stream.latents = latents

    def _draw(self, streams: Sequence[VitsStream]) -> list[torch.Tensor]:
        tokens = [torch.tensor([stream.fed], dtype=torch.int64) for stream in streams]
        texts = [stream.phoneme_ids for stream in streams if stream.phoneme_ids is not None]
        frames = [self._frames(stream) for stream in streams]
        noise = [torch.from_numpy(stream.noise.frames(0, n)) for stream, n in zip(streams, frames, strict=True)]
        style = torch.cat([stream.style for stream in streams])
        is_padded = len(streams) > 1
        prior = self.model.encode(
            pad_stack(tokens).to(self._device),
            pad_stack(texts) if texts else None,
            style,
            lengths=[item.shape[1] for item in tokens] if is_padded else None,
            phoneme_lengths=[item.shape[1] for item in texts] if is_padded and texts else None,
            speed=[stream.sequence.job.options.speed for stream in streams],
        )
        noise_batch = pad_stack([item[None] for item in noise]).to(self._device, self._dtype)
        latents = self.model.latents(prior, style, noise_batch, NOISE_SCALE, self._captured.unflow)
        return [latents[row : row + 1, :, :n] for row, n in enumerate(frames)]

    def _vocode(self, streams: Sequence[VitsStream], windows: Sequence[_Window]) -> list[FloatArray]:
        """The samples of each window; those of equal length in one pass."""
        alike: dict[int, list[int]] = {}
        for index, stream in enumerate(streams):
            alike.setdefault(self._generator_frames(stream), []).append(index)
        waves: list[FloatArray] = [EMPTY] * len(streams)
        for indices in alike.values():
            inputs = []
            for index in indices:
                stream, window = streams[index], windows[index]
                assert stream.latents is not None
                inputs.append((stream.latents, stream.style, window.start, window.stop))
            for index, wave in zip(indices, together_or_alone(self._generate, inputs), strict=True):
                waves[index] = to_host(wave[0, 0].float()).copy()
        return waves

    def _generate(self, windows: list[tuple[torch.Tensor, torch.Tensor, int, int]]) -> list[torch.Tensor]:
        return self.model.vocode_windows(windows, self._captured.generate)


def together_or_alone(run: Callable[[list[Item]], list[Made]], items: list[Item]) -> list[Made]:
    """What `run` makes of all items at once; of one after the other where there is no memory for that."""
    try:
        return run(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    # Here the error is gone, and with it what was computed so far.
    return [made for item in items for made in run([item])]


def windows_together(device: torch.device, *, is_deterministic: bool) -> int:
    """How many windows of waves to make in a batch.

    One where a wave must be the same to the last bit in any company, and on a CPU, where a batch takes as long as its
    windows one by one, and all would wait for the last.
    """
    return 8 if device.type == "cuda" and not is_deterministic else 1


def pad_stack(items: Sequence[torch.Tensor], length: int = 0) -> torch.Tensor:
    """(1, ..., T) each to (B, ..., longest), or to a length that is longer; zeros at the right."""
    longest = max(length, *(item.shape[-1] for item in items))
    return torch.cat([torch.nn.functional.pad(item, (0, longest - item.shape[-1])) for item in items])
