"""The wave decoder of v3 and v4: semantic tokens to samples, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sovits_service.audio.dsp import denormalize_mel
from sovits_service.audio.join import cross_fade
from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.engine.host import to_host
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.engine.upper_octave import UpperOctave
from sovits_service.engine.wave_decoder import EMPTY, NoiseSource, pad_stack, text_ids, together_or_alone
from sovits_service.engine.wave_graphs import JOINT_FRAMES, CfmGraphs
from sovits_service.models.sovits.bigvgan import BigVgan
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.super_sampling import SuperSampler
from sovits_service.types import FloatArray, VoicePrompt

SMALLEST_WINDOW_FRAMES = 100  # what a long reference leaves for speech at least


@dataclass(slots=True, eq=False)
class CfmStream:
    """What one sequence has been given and has said; frames are those of the mel.

    Attributes:
        prompt_features, prompt_mel: (1, channels, T), what goes before the next window: of the reference at first, then
            of what was drawn last.
        features: (1, channels, frames) of the tokens fed last.
        cursor: the first frame that is not drawn.
        mel: (1, n_mels, T) drawn frames, normalised: those that wait for the vocoder, and its context before them.
        tail: samples of the last frames of `mel` as the vocoder had them without what follows.
        upper_octave: fills out what the vocoder gives; None leaves it as it is.
    """

    sequence: DecodeSequence
    style: Tensor
    phoneme_ids: Tensor | None
    prompt_features: Tensor
    prompt_mel: Tensor
    prompt_frames: int
    noise: NoiseSource
    mel: Tensor
    sample_rate_hz: int
    upper_octave: UpperOctave | None = None
    emitted_tokens: int = 0
    chunks: int = 0
    is_final: bool = False
    fed: Sequence[int] = ()
    cursor: int = 0
    features: Tensor | None = None
    tail: FloatArray = field(default_factory=lambda: EMPTY)

    @property
    def has_work(self) -> bool:
        return len(self.fed) > 0

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        self.fed = tuple(tokens)
        self.is_final = is_final
        self.features = None


@dataclass(frozen=True, slots=True)
class _Window:
    """Frames `start` to `stop` of a stream, of which those before `end` count."""

    stream: CfmStream
    start: int
    stop: int
    end: int
    is_last_of_feed: bool


class CfmWaveDecoder:
    """Draws the mel of one window for each of several streams in a batch, and makes its samples.

    A window has the last frames before it as its prompt, so that the voice carries on, and the vocoder sees the mel
    without a seam. Windows of different sentences and requests share a batch where they take the same number of steps.

    Args:
        max_batch: windows in a batch, see `windows_together`.
        queue: of the model's device, in which steps and vocoder are captured; None runs them as they are.
    """

    def __init__(
        self,
        model: CfmSynthesizer,
        vocoder: BigVgan | Hifigan,
        super_sampler: SuperSampler | None = None,
        *,
        max_batch: int = 1,
        queue: DeviceQueue | None = None,
    ) -> None:
        spec = model.flow_matching
        self.model = model
        self.vocoder = vocoder
        self.super_sampler = super_sampler
        self._rate_hz = model.config.spec.output_rate_hz
        self._spec = spec
        self._frames_per_token = model.config.ssl_stride * spec.frames_per_latent
        weight = model.ssl_proj.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._max_batch = max_batch
        self._captured = CfmGraphs(model, vocoder, queue, max_batch)

    def open(self, sequence: DecodeSequence, prompt: VoicePrompt) -> CfmStream:
        job = sequence.job
        assert prompt.ref_mel is not None
        if job.prompt_features is None:
            job.prompt_features = self._reference_features(sequence, prompt)
        features = job.prompt_features
        shortest = min(features.shape[2], prompt.ref_mel.shape[2])
        frames = min(shortest, self._spec.prompt_frames)
        octave = None
        if job.options.super_sampling and self.super_sampler is not None:
            octave = UpperOctave(self.super_sampler, self._rate_hz)
        return CfmStream(
            sequence=sequence,
            style=prompt.style_embedding,
            phoneme_ids=text_ids(sequence.segment, self._device),
            prompt_features=features[..., shortest - frames : shortest],
            prompt_mel=prompt.ref_mel[..., shortest - frames : shortest],
            prompt_frames=frames,
            noise=NoiseSource(job.options.seed, sequence.index, self._spec.mel.n_mels),
            mel=prompt.ref_mel[..., :0],
            sample_rate_hz=octave.sample_rate_hz if octave else self._rate_hz,
            upper_octave=octave,
        )

    def batch(self, streams: Sequence[CfmStream]) -> Sequence[CfmStream]:
        """The most urgent stream, and those behind it that take as many steps.

        One that somebody listens to takes along listened ones alone, whose windows are no longer: padding it to a
        longer window, or computing whole answers beside it, would make its listener wait.
        """
        first = streams[0]
        alike = [stream for stream in streams if _steps(stream) == _steps(first)]
        if first.sequence.job.options.streaming_mode > 0:
            longest = self._window_frames(first)
            alike = [
                stream
                for stream in alike
                if stream.sequence.job.options.streaming_mode > 0 and self._window_frames(stream) <= longest
            ]
        return alike[: self._max_batch]

    @torch.inference_mode()
    def advance(self, streams: Sequence[CfmStream]) -> list[FloatArray]:
        windows = [self._next_window(stream) for stream in streams]
        mels = []
        for window, drawn in zip(windows, together_or_alone(self._draw, windows), strict=True):
            mel = drawn[..., : window.end - window.start].to(window.stream.mel.dtype)
            mels.append(torch.cat([window.stream.mel, mel], dim=2))
        return [self._speak(*each) for each in zip(windows, mels, self._vocode(mels), strict=True)]

    @torch.inference_mode()
    def _reference_features(self, sequence: DecodeSequence, prompt: VoicePrompt) -> Tensor:
        """(1, channels, T) of what the clip behind the prompt's mel says."""
        tokens, segment = prompt.prompt_tokens, sequence.job.prompt_segment
        if prompt.mel_tokens is not None:  # a clip for the timbre alone: nobody told what it says
            tokens, segment = prompt.mel_tokens, None
        phoneme_ids = text_ids(segment, self._device)
        features, _ = self.model.encode(tokens[None], phoneme_ids, prompt.style_embedding)
        return features

    def _window_frames(self, stream: CfmStream) -> int:
        """Frames of a stream's next window, estimated where its tokens are not encoded yet; its prompt included."""
        if stream.features is not None:
            frames = int(stream.features.shape[2])
        else:
            frames = round(len(stream.fed) * self._frames_per_token / stream.sequence.job.options.speed)
        return stream.prompt_frames + min(frames - stream.cursor, self._room_frames(stream))

    def _room_frames(self, stream: CfmStream) -> int:
        return max(SMALLEST_WINDOW_FRAMES, self._spec.window_frames - stream.prompt_frames)

    def _next_window(self, stream: CfmStream) -> _Window:
        if stream.features is None:
            tokens = torch.tensor([stream.fed], dtype=torch.int64).to(self._device)
            speed = stream.sequence.job.options.speed
            stream.features, _ = self.model.encode(tokens, stream.phoneme_ids, stream.style, speed=speed)
        frames = stream.features.shape[2]
        stop = min(frames, stream.cursor + self._room_frames(stream))
        is_last = stop == frames
        held_back = self._held_back_frames(stream) if is_last and not stream.is_final else 0
        return _Window(stream, stream.cursor, stop, max(stream.cursor, stop - held_back), is_last)

    def _held_back_frames(self, stream: CfmStream) -> int:
        """Frames of the newest tokens, which the next ones may change."""
        options = stream.sequence.job.options
        return max(1, round(options.overlap_tokens * self._frames_per_token / options.speed))

    def _draw(self, windows: Sequence[_Window]) -> list[Tensor]:
        """The normalised mel of each window, (1, n_mels, stop - start)."""
        prompts = [window.stream.prompt_mel for window in windows]
        features = []
        for window in windows:
            assert window.stream.features is not None
            new = window.stream.features[..., window.start : window.stop]
            features.append(torch.cat([window.stream.prompt_features, new], dim=2))
        lengths = [item.shape[2] for item in features]
        prompt_lengths = [prompt.shape[2] for prompt in prompts]
        noise = [
            _pad_front(self._noise(window), prompt) for window, prompt in zip(windows, prompt_lengths, strict=True)
        ]
        length = self._captured.window_frames(len(windows), max(lengths))
        drawn = self.model.sample(
            pad_stack(features, length),
            pad_stack(prompts),
            pad_stack(noise, length),
            _steps(windows[0].stream),
            lengths,
            prompt_lengths,
            self._captured.velocity,
        )
        return [
            drawn[index : index + 1, :, prompt:length]
            for index, (prompt, length) in enumerate(zip(prompt_lengths, lengths, strict=True))
        ]

    def _noise(self, window: _Window) -> Tensor:
        noise = window.stream.noise.frames(window.start, window.stop)
        return torch.from_numpy(noise)[None].to(self._device)

    def _vocode(self, mels: Sequence[Tensor]) -> list[FloatArray]:
        """Samples of each normalised mel, (1, n_mels, T); those of equal length in one pass."""
        alike: dict[int, list[int]] = {}
        for index, mel in enumerate(mels):
            alike.setdefault(mel.shape[2], []).append(index)
        waves: list[FloatArray] = [EMPTY] * len(mels)
        for indices in alike.values():
            made = together_or_alone(self._vocode_batch, [mels[index] for index in indices])
            for index, wave in zip(indices, made, strict=True):
                waves[index] = wave
        return waves

    def _vocode_batch(self, mels: Sequence[Tensor]) -> list[FloatArray]:
        return list(to_host(self._captured.vocode(denormalize_mel(torch.cat(tuple(mels))))[:, 0].float()))

    def _speak(self, window: _Window, mel: Tensor, wave: FloatArray) -> FloatArray:
        """Take over a window's mel, with what the vocoder saw before it, and give the samples that it settles."""
        stream = window.stream
        assert stream.features is not None
        new_features = stream.features[..., window.start : window.end]
        new_mel = mel[..., stream.mel.shape[2] :]
        frames = stream.prompt_frames
        stream.prompt_features = torch.cat([stream.prompt_features, new_features], dim=2)[..., -frames:]
        stream.prompt_mel = torch.cat([stream.prompt_mel, new_mel], dim=2)[..., -frames:]
        is_end = stream.is_final and window.is_last_of_feed
        samples = self._settle(stream, mel, wave, is_end=is_end)
        stream.cursor = window.end
        if window.is_last_of_feed:
            stream.emitted_tokens = int(window.end / self._frames_per_token * stream.sequence.job.options.speed)
            stream.chunks += 1
            stream.features, stream.fed = None, ()
        return stream.upper_octave.push(samples, is_end=is_end) if stream.upper_octave else samples

    def _settle(self, stream: CfmStream, mel: Tensor, wave: FloatArray, *, is_end: bool) -> FloatArray:
        """Samples of the frames before the joint, faded over from the last rendering of the joint before."""
        hop, context = self._spec.vocoder_hop_samples, self.vocoder.context_frames
        said_frames = stream.mel.shape[2] - len(stream.tail) // hop
        samples: FloatArray = wave[said_frames * hop :].copy()
        if len(stream.tail):
            overlap = min(len(stream.tail), len(samples))
            samples[:overlap] = cross_fade(stream.tail[:overlap], samples[:overlap])
        held_back = 0 if is_end else min(JOINT_FRAMES, samples.shape[0] // hop)
        spoken, stream.tail = np.split(samples, [len(samples) - held_back * hop])
        stream.mel = mel[..., max(0, mel.shape[2] - held_back - context) :]
        return spoken


def _steps(stream: CfmStream) -> int:
    return stream.sequence.job.options.cfm_steps


def _pad_front(tensor: Tensor, frames: int) -> Tensor:
    return torch.nn.functional.pad(tensor, (frames, 0))
