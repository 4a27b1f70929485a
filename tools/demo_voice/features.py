"""Utterances of stage 1 in; waves, exact tokens and the fixed latents that decoder and prior learn from out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import codes as c
import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from sovits_service.audio.dsp import mel_filters

RATE_HZ, HOP, FFT = 32_000, 640, 2048
SAMPLES_PER_TOKEN = RATE_HZ // c.TOKENS_PER_SECOND
LATENTS = 96
LOG_FLOOR = 3e-4
SHIPPED = ("female_calm", "male_narrator", "child_happy")


@dataclass
class Utterance:
    """An utterance in memory: int16 wave, tokens, and, once made, (T_frames, 96) float16 latents in their time."""

    speaker: str
    language: str
    text: str
    wave: np.ndarray
    tokens: c.Tokens
    latents: Tensor | None = None

    def samples(self) -> Tensor:
        return torch.from_numpy(self.wave.astype(np.float32) / 32768.0)

    def in_own_time(self) -> Utterance:
        """With tokens that begin every 40 ms, wherever their phones do."""
        n = len(self.tokens.codes) + 1
        return replace(self, tokens=replace(self.tokens, edges=tuple(k / c.TOKENS_PER_SECOND for k in range(n))))

    def places(self, samples: Tensor) -> Tensor:
        """Sample numbers of speech whose phones begin and end with their tokens, to those in the recording.

        Durations are rounded to whole tokens: what is learnt in the recording's own time is blurred by 10 ms (RMS).
        """
        tokens = samples.double().numpy() / SAMPLES_PER_TOKEN
        seconds = np.interp(tokens, np.arange(len(self.tokens.edges)), self.tokens.edges)
        return torch.from_numpy(np.round(seconds * RATE_HZ).astype(np.int64))


def place_pauses(phones: list[str], seconds: list[float], wave: np.ndarray) -> list[float]:
    """Give each pause the seconds in which the wave is silent: durations hide part of it in its neighbours."""
    frame = RATE_HZ // 100
    level = np.sqrt(np.square(wave[: len(wave) // frame * frame].reshape(-1, frame)).mean(1))
    quiet = level < 0.004
    out, edges = list(seconds), np.concatenate([[0.0], np.cumsum(seconds)])
    for i in range(1, len(out)):
        if phones[i] not in c.PUNCTUATION or phones[i - 1] in (*c.PUNCTUATION, "SIL"):
            continue
        first, last = round(edges[i - 1] * 100), round(edges[i + 1] * 100)
        start = next((f for f in range(first + 4, last) if quiet[f : f + 5].all() and f < len(quiet)), None)
        if start is None:
            continue
        stop = next((f for f in range(start, last) if f < len(quiet) and not quiet[f]), last)
        spoken = max(0.04, start / 100 - edges[i - 1])
        out[i - 1], out[i] = spoken, stop / 100 - edges[i - 1] - spoken
        if i + 1 < len(out):
            out[i + 1] += edges[i + 1] - stop / 100
    return out


def utterance(
    speaker: str, language: str, text: str, phones: list[str], seconds: list[float], wave: np.ndarray
) -> Utterance:
    """An utterance of phones with their seconds in a float wave, which is cut to whole tokens."""
    tokens = c.encode(phones, place_pauses(phones, seconds, wave))
    needed = len(tokens.codes) * SAMPLES_PER_TOKEN
    wave = np.pad(wave, (0, max(0, needed - len(wave))))
    return Utterance(speaker, language, text, (wave * 32767).astype(np.int16), tokens)


def load(work: Path, row: dict[str, object]) -> Utterance:
    """One manifest row with its wave."""
    wave, _ = soundfile.read(work / "wav" / f"{row['id']}.wav", dtype="float32")
    phones, seconds = list(row["phones"]), list(row["seconds"])  # type: ignore[call-overload]
    return utterance(str(row["speaker"]), str(row["language"]), str(row["text"]), phones, seconds, wave)


def held_out(row_id: str) -> bool:
    """Whether an utterance is kept from training: every 16th round."""
    return int(row_id.split("_")[0]) % 16 == 3


def fresh(
    work: Path, loaded: set[str], *, held: bool = False, seconds: tuple[float, float] = (0.0, math.inf)
) -> Iterator[Utterance]:
    """The utterances, kept from training or not, that stage 1 has made since `loaded`, which takes them up."""
    for row in c.read_rows(work / "utterances.jsonl"):
        key = str(row["id"])
        fits = seconds[0] < sum(row["seconds"]) < seconds[1]  # type: ignore[call-overload]
        if key not in loaded and held_out(key) == held and fits:
            loaded.add(key)
            yield load(work, row)


def magnitudes(samples: Tensor, centres: Tensor, fft: int) -> Tensor:
    """(T,) samples and (N,) sample numbers, in any order, to the (N, fft // 2 + 1) spectra around them."""
    padded = nn.functional.pad(samples, (fft // 2, fft // 2))
    frames = padded[centres.clamp(0, len(samples))[:, None] + torch.arange(fft)]
    return torch.fft.rfft(frames * torch.hann_window(fft)).abs()


def frame_centres(n_frames: int, hop: int) -> Tensor:
    """(n_frames,) sample numbers."""
    return torch.arange(n_frames) * hop + hop // 2


def log_mels(samples: Tensor, n_frames: int, places: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """(T,) samples to (n_frames, 208): 112 bands of a long window, 2 x 48 of a short one."""
    spectra = (
        magnitudes(samples, places(frame_centres(n_frames, HOP)), FFT)
        @ torch.from_numpy(mel_filters(RATE_HZ, FFT, 112)).t(),
        magnitudes(samples, places(frame_centres(2 * n_frames, HOP // 2)), HOP)
        @ torch.from_numpy(mel_filters(RATE_HZ, HOP, 48)).t(),
    )
    return torch.log(torch.cat([spectra[0], spectra[1].reshape(n_frames, 96)], dim=1) + LOG_FLOOR)


def _log_mels(utterance: Utterance) -> Tensor:
    return log_mels(utterance.samples(), 2 * len(utterance.tokens.codes), utterance.places)


class Latents:
    """The fixed linear map from log mels to 96 latents: principal components, milder than whitened."""

    def __init__(self, work: Path, utterances: list[Utterance] | None = None) -> None:
        path = work / "latents.pt"
        if not path.exists():
            assert utterances is not None
            chosen = random.Random(0).sample(utterances, min(250, len(utterances)))
            x = torch.cat([_log_mels(u) for u in chosen]).double()
            mean = x.mean(0)
            values, vectors = torch.linalg.eigh((x - mean).t() @ (x - mean) / len(x))
            values, vectors = values.flip(0)[:LATENTS].clamp(min=1e-6), vectors.flip(1)[:, :LATENTS]
            scale = values.pow(-0.25)
            scale /= (values * scale.square()).mean().sqrt()
            torch.save(
                {
                    "mean": mean.float(),
                    "basis": (vectors * scale).float(),
                    "kept": float(values.sum() / (x - mean).var(0).sum()),
                },
                path,
            )
        saved = torch.load(path, weights_only=True)
        self.mean, self.basis, self.kept = saved["mean"], saved["basis"], saved["kept"]

    def __call__(self, utterance: Utterance) -> Tensor:
        """(T_frames, 96) float16, kept with the utterance."""
        if utterance.latents is None:
            utterance.latents = ((_log_mels(utterance) - self.mean) @ self.basis).half()
        return utterance.latents
