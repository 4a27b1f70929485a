"""The networks that make waves, captured for the lengths that windows have; as they are where nothing is captured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.engine.graphs import SharedGraphs, graph_rows
from sovits_service.models.sovits.bigvgan import BigVgan
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.sovits.dit import Condition, Modulations
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.sovits.vits import WINDOW_FRAMES, Vits

JOINT_FRAMES = 12  # of mel, over which two renderings of a joint fade into each other; as in the original
_FLOW_FRAMES = (64, 128, 192, 256, 384, 512)  # 10 s at most: a sentence
_MEL_FRAMES = (128, 256, 384, 512, 768)


class VitsGraphs:
    """The generator and the flow of v1 to v2ProPlus.

    Args:
        queue: None captures nothing.
        max_batch: windows in a batch.
        window_frames: of the longest window.
    """

    def __init__(self, model: Vits, queue: DeviceQueue | None, max_batch: int, window_frames: int) -> None:
        self._model = model
        config, like = model.config, model.ssl_proj.weight
        rows = graph_rows(max_batch, is_fixed=False)

        @torch.inference_mode()
        def unflow(z: Tensor, mask: Tensor, style: Tensor) -> Tensor:
            return model.unflow(z, mask, style)

        def of_flow(n: int, length: int) -> Sequence[Tensor]:
            sizes = (config.inter_channels, length), (1, length), (config.gin_channels, 1)
            return [like.new_zeros(n, *size) for size in sizes]

        self._flows = SharedGraphs(unflow, of_flow, queue, rows=rows, lengths=_FLOW_FRAMES, what="the flow")
        lengths = sorted({size for size in WINDOW_FRAMES if size < window_frames} | {window_frames})
        self._generators = hifigan_graphs(model.dec, like, queue, rows, lengths)

    def unflow(self, z: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """`Vits.unflow`."""
        frames = z.shape[-1]
        length = self._flows.padded(z.shape[0], frames)
        if length is None:
            return self._model.unflow(z, mask, style)
        padding = (0, length - frames)
        return self._flows(length, F.pad(z, padding), F.pad(mask, padding), style)[..., :frames]

    def generate(self, frames: Tensor, style: Tensor) -> Tensor:
        """`Vits.generate`."""
        rows, _, n_frames = frames.shape
        length = self._generators.padded(rows, n_frames)
        if length is None:
            return self._model.generate(frames, style)
        return self._generators(length, *_padded(frames, length), style)


class CfmGraphs:
    """A step of the transformer, and the vocoder, of v3 and v4. Arguments as for `VitsGraphs`."""

    def __init__(
        self, model: CfmSynthesizer, vocoder: BigVgan | Hifigan, queue: DeviceQueue | None, max_batch: int
    ) -> None:
        self._estimator, self._vocoder = model.cfm.estimator, vocoder
        estimator, config = model.cfm.estimator, model.cfm.estimator.config
        longest = model.flow_matching.window_frames
        like, rows = model.ssl_proj.weight, graph_rows(max_batch, is_fixed=False)

        @torch.inference_mode()
        def velocity(x: Tensor, projected: Tensor, mask: Tensor, blocks: Tensor, out: Tensor) -> Tensor:
            condition = Condition(projected, estimator.rotary_embed(x.shape[1]), mask)
            moved: Tensor = estimator(x, condition, Modulations(blocks, out))
            return moved

        def of_step(n: int, length: int) -> Sequence[Tensor]:
            channels = config.channels
            sizes = (n, length, config.n_mels), (n, length, channels), (n, length, 1)
            return [like.new_zeros(size) for size in (*sizes, (config.n_layers, 6 * channels), (2 * channels,))]

        # Attention has faster kernels where a row of its mask begins at a multiple of 16 bytes.
        lengths = [8 * math.ceil(share * longest / 8) for share in (0.5, 0.75, 1.0)]
        self._steps = SharedGraphs(velocity, of_step, queue, rows=rows, lengths=lengths, what="flow matching")
        if isinstance(vocoder, Hifigan):
            self._vocoders = hifigan_graphs(vocoder, like, queue, rows, _MEL_FRAMES)
        else:
            self._vocoders = _bigvgan_graphs(vocoder, like, queue, rows, _usual_mel_frames(model, vocoder))

    def window_frames(self, rows: int, frames: int) -> int:
        """What a batch of so many windows, the longest of so many frames, is best padded to."""
        return self._steps.padded(rows, frames) or frames

    def velocity(self, x: Tensor, condition: Condition, modulations: Modulations) -> Tensor:
        """`Dit.forward`."""
        rows, length, _ = x.shape
        if self._steps.padded(rows, length) != length:
            moved: Tensor = self._estimator(x, condition, modulations)
            return moved
        mask = x.new_ones(rows, length, 1) if condition.mask is None else condition.mask
        return self._steps(length, x, condition.projected, mask, modulations.blocks, modulations.out)

    def vocode(self, mel: Tensor) -> Tensor:
        """(B, n_mels, T) as the vocoder takes it to (B, 1, T * hop)."""
        rows, _, frames = mel.shape
        length = self._vocoders.padded(rows, frames)
        if length is not None and isinstance(self._vocoder, Hifigan):
            return self._vocoders(length, *_padded(mel, length))[..., : frames * self._vocoder.hop_samples]
        if length == frames:
            return self._vocoders(length, mel)
        wave: Tensor = self._vocoder(mel)
        return wave


def hifigan_graphs(
    vocoder: Hifigan, like: Tensor, queue: DeviceQueue | None, rows: Sequence[int], lengths: Sequence[int]
) -> SharedGraphs:
    """Of frames (B, channels, T), how many of them count (B,), and where the network takes one the style (B, gin, 1).

    Args:
        like: gives device and dtype.
    """
    config = vocoder.config

    @torch.inference_mode()
    def run(frames: Tensor, ends: Tensor, *style: Tensor) -> Tensor:
        wave: Tensor = vocoder(frames, *(style or (None,)), ends)
        return wave

    def inputs(n: int, length: int) -> list[Tensor]:
        ends = torch.full((n,), length, dtype=torch.int64, device=like.device)
        styles = [like.new_zeros(n, config.gin_channels, 1)] if config.gin_channels else []
        return [like.new_zeros(n, config.in_channels, length), ends, *styles]

    return SharedGraphs(run, inputs, queue, rows=rows, lengths=lengths, what="HiFi-GAN")


def _bigvgan_graphs(
    vocoder: BigVgan, like: Tensor, queue: DeviceQueue | None, rows: Sequence[int], lengths: Sequence[int]
) -> SharedGraphs:
    """Of mels (B, n_mels, T). Its filters repeat the last frame at the end, so that padding would be heard."""

    @torch.inference_mode()
    def run(mel: Tensor) -> Tensor:
        wave: Tensor = vocoder(mel)
        return wave

    def inputs(n: int, length: int) -> list[Tensor]:
        return [like.new_zeros(n, vocoder.config.num_mels, length)]

    return SharedGraphs(run, inputs, queue, rows=rows, lengths=lengths, what="BigVGAN")


def _usual_mel_frames(model: CfmSynthesizer, vocoder: BigVgan) -> Sequence[int]:
    """Of a sentence's first window behind a long reference, and of those between the first and the last."""
    spec = model.flow_matching
    room = spec.window_frames - spec.prompt_frames
    return room, room + JOINT_FRAMES + vocoder.context_frames


def _padded(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Frames with zeros up to a length, and how many of each row count."""
    n_frames = frames.shape[-1]
    ends = torch.full((frames.shape[0],), n_frames, dtype=torch.int64, device=frames.device)
    return F.pad(frames, (0, length - n_frames)), ends
