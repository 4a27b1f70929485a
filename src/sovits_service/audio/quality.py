"""What would spoil a reference clip, measured in its samples. No models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sovits_service.errors import ReferenceAudioError
from sovits_service.types import FloatArray, ReferenceAudio, ReferenceFinding

MIN_REFERENCE_S = 3.0
MAX_REFERENCE_S = 10.0
FRAME_S = 0.02
_QUIETEST_DBFS = -120.0
_SILENT_DBFS = -60.0  # a speech level below it is none
_BAND_HZ = 250
_CLIPPED_SHARE = 0.001
_LEAST_BACKGROUND_DB = 32.0  # clean speech without a pause has 38 and more, noise 20 dB below the speech 31 at most
_LEAST_BANDWIDTH_HZ = 6500
_BANDWIDTH_DB = 55.0
_LONGEST_PAUSE_S = 2.0
_Levels = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReferenceQuality:
    """What can be measured of a reference clip.

    Attributes:
        speech_level_dbfs: the loud frames (95th percentile of frames of 20 ms).
        noise_floor_dbfs: the quiet frames (10th percentile); -120 at the lowest.
        background_db: how far the background is below the speech. Band by band, what is there in the quietest frames of
            the band counts: also speech without a pause shows it, since no sound fills all bands.
        bandwidth_hz: up to where the loud frames of a band reach within 55 dB of the loudest band's.
        clipped: the samples at full scale, and flat tops below it.
        silent_share: frames more than 35 dB below the speech level, 0 to 1.
        longest_pause_s: from and to, of the longest run of such frames.
    """

    duration_s: float
    sample_rate_hz: int
    speech_level_dbfs: float
    noise_floor_dbfs: float
    background_db: float
    bandwidth_hz: int
    clipped: npt.NDArray[np.int64]
    clipped_share: float
    silent_share: float
    longest_pause_s: tuple[float, float]


def measure_reference(reference: ReferenceAudio) -> ReferenceQuality:
    """Measures level, background, bandwidth, clipping and silence of a clip."""
    levels = frame_levels_dbfs(reference)
    speech_dbfs = float(np.percentile(levels, 95))
    silent = levels < silence_threshold_dbfs(speech_dbfs)
    bands = _band_powers(reference)
    loudest_db = _decibels(np.percentile(bands, 97, axis=0))
    clipped = _clipped(reference.samples)
    return ReferenceQuality(
        duration_s=reference.duration_s,
        sample_rate_hz=reference.sample_rate_hz,
        speech_level_dbfs=speech_dbfs,
        noise_floor_dbfs=float(np.percentile(levels, 10)),
        background_db=float(
            _decibels(np.percentile(bands.sum(axis=1), 95)) - _decibels(np.percentile(bands, 5, axis=0).sum())
        ),
        bandwidth_hz=int(np.flatnonzero(loudest_db > loudest_db.max() - _BANDWIDTH_DB)[-1] + 1) * _BAND_HZ,
        clipped=clipped,
        clipped_share=len(clipped) / len(reference.samples),
        silent_share=float(np.mean(silent)),
        longest_pause_s=_longest_run_s(silent),
    )


def find_faults(reference: ReferenceAudio) -> list[ReferenceFinding]:
    """What speaks against a clip as a voice: first what rules it out, then what will be heard in the speech."""
    quality = measure_reference(reference)
    found = [_error("length", problem)] if (problem := _wrong_length(reference.duration_s)) else []
    if quality.speech_level_dbfs < _SILENT_DBFS:
        return [*found, _error("silent", "the reference is silent; record it again at a normal level")]
    return [*found, *_warnings(quality)]


def validate_reference(reference: ReferenceAudio) -> tuple[str, ...]:
    """Check that a clip can serve as a voice.

    Returns:
        Warnings: what will be heard in the voice, and what to do about it.

    Raises:
        ReferenceAudioError: not 3 to 10 s, or without a sound.
    """
    check_duration(reference.duration_s)
    faults = find_faults(reference)
    for fault in faults:
        if fault.severity == "error":
            raise ReferenceAudioError(fault.message)
    return tuple(fault.message for fault in faults)


def check_duration(duration_s: float) -> None:
    """Refuse what is not 3 to 10 s, the lengths that the models were trained for.

    Raises:
        ReferenceAudioError: with the measured length.
    """
    if problem := _wrong_length(duration_s):
        raise ReferenceAudioError(problem)


def frame_samples(sample_rate_hz: int) -> int:
    """How many samples a frame of 20 ms has."""
    return max(1, round(sample_rate_hz * FRAME_S))


def frame_levels_dbfs(reference: ReferenceAudio) -> _Levels:
    """(frames,) level of each 20 ms; the rest that fills no frame counts as one."""
    length = frame_samples(reference.sample_rate_hz)
    power = reference.samples.astype(np.float64) ** 2
    starts = np.arange(0, len(power), length)
    counts = np.diff(np.append(starts, len(power)))
    return _decibels(np.add.reduceat(power, starts) / counts)


def silence_threshold_dbfs(speech_dbfs: float) -> float:
    """The level below which a frame is silent, beside speech of this level."""
    return speech_dbfs - 35.0


def _wrong_length(duration_s: float) -> str:
    if MIN_REFERENCE_S <= duration_s <= MAX_REFERENCE_S:
        return ""
    shown = f"{duration_s:.1f}"
    if MIN_REFERENCE_S <= float(shown) <= MAX_REFERENCE_S:
        shown = f"{duration_s:.4f}"
    return f"the reference is {shown} s; it must be 3 to 10 s"


def _error(code: str, message: str) -> ReferenceFinding:
    return ReferenceFinding(code, "error", message)


def _warnings(quality: ReferenceQuality) -> Iterator[ReferenceFinding]:
    rate_hz = quality.sample_rate_hz
    if quality.clipped_share > _CLIPPED_SHARE:
        message = f"clipping: {quality.clipped_share:.1%} of the samples are cut off; record at a lower level"
        start_s, end_s = quality.clipped[0] / rate_hz, (quality.clipped[-1] + 1) / rate_hz
        yield ReferenceFinding("clipping", "warning", message, float(start_s), float(end_s))
    if quality.speech_level_dbfs < -35:
        level = f"low level: the speech is at {quality.speech_level_dbfs:.0f} dBFS; bring it to about -20 dBFS"
        yield ReferenceFinding("level", "warning", level)
    if quality.background_db < _LEAST_BACKGROUND_DB:
        distance = f"noise: the background is only {max(0.0, quality.background_db):.0f} dB below the speech"
        yield ReferenceFinding("noise", "warning", f"{distance}; record in a quiet room, without music")
    start_s, end_s = quality.longest_pause_s
    if quality.silent_share > 0.5 or end_s - start_s > _LONGEST_PAUSE_S:
        message = f"silence: {quality.silent_share:.0%} of the clip is silent; cut the pauses out"
        yield ReferenceFinding("silence", "warning", message, start_s, end_s)
    if rate_hz < 16000:
        message = f"sample rate: {rate_hz} Hz sounds dull; record at 16 kHz or more"
        yield ReferenceFinding("sample_rate", "warning", message)
    elif quality.bandwidth_hz < _LEAST_BANDWIDTH_HZ:
        reach = f"bandwidth: nothing is heard above {quality.bandwidth_hz / 1000:.1f} kHz, as over a telephone"
        yield ReferenceFinding("bandwidth", "warning", f"{reach}; record at 16 kHz or more")


def _clipped(samples: FloatArray) -> npt.NDArray[np.int64]:
    """Places at full scale, and in flat tops: three samples and more in a row that stay at the clip's own peak."""
    level = np.abs(samples)
    peak = float(level.max(initial=0.0))
    is_flat = (np.abs(np.diff(samples)) < 1e-4 * peak) & (level[1:] > 0.98 * peak)
    is_top = np.zeros(len(samples), bool)
    inner = np.flatnonzero(is_flat[:-1] & is_flat[1:])
    for offset in range(3):
        is_top[inner + offset] = True
    return np.flatnonzero(is_top | (level >= 0.9995))


def _band_powers(reference: ReferenceAudio) -> _Levels:
    """(frames, bands) power in bands of 250 Hz, in frames of 20 ms that overlap by half."""
    length = frame_samples(reference.sample_rate_hz)
    samples = np.pad(reference.samples, (0, max(0, length - len(reference.samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[:: max(1, length // 2)]
    power = np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)) ** 2
    band = (np.fft.rfftfreq(length, 1 / reference.sample_rate_hz) // _BAND_HZ).astype(int)
    return np.add.reduceat(power, np.flatnonzero(np.diff(band, prepend=-1)), axis=1)


def _longest_run_s(silent: npt.NDArray[np.bool_]) -> tuple[float, float]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    if not len(edges):
        return 0.0, 0.0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return round(float(starts[longest]) * FRAME_S, 2), round(float(ends[longest]) * FRAME_S, 2)


def _decibels(power: npt.ArrayLike) -> _Levels:
    levels: _Levels = 10 * np.log10(np.maximum(power, 10 ** (_QUIETEST_DBFS / 10)))
    return levels
