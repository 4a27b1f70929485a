"""What the models hear in a reference clip: whether it says its transcript, and whether one voice speaks."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import torch

from sovits_service.audio.quality import frame_levels_dbfs, silence_threshold_dbfs
from sovits_service.engine.aligner import AlignmentSource, Utterance
from sovits_service.engine.alignment import loudness_db
from sovits_service.engine.device_queue import DeviceQueue
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.transcript_fit import Reading, find_misfits
from sovits_service.types import FloatArray, ReferenceAudio, ReferenceFinding, ReferenceReport, Segment

_STRETCH_S = 1.5
_LEAST_VOICED = 0.4  # of a stretch
# Cosine of the style embeddings of two stretches. Of one demonstration voice 0.85 and more, of two 0.0 and less.
_LEAST_LIKENESS = 0.5
_NO_HEADS = "no attention head of this GPT is known to follow the text"


class ReferenceChecker:
    """Checks clips with one pair of weights. Safe to call from threads.

    Args:
        features: of its own: those of the engine are not shared with other threads.
        queue: beside which the work is done.
        pause_ids: phoneme ids of punctuation marks.
    """

    def __init__(
        self,
        prompts: PromptEncoder,
        features: TextFeatures,
        aligner: AlignmentSource,
        queue: DeviceQueue,
        pause_ids: frozenset[int],
    ) -> None:
        self._prompts = prompts
        self._features = features
        self._aligner = aligner
        self._queue = queue
        self._pause_ids = pause_ids
        self._lock = threading.Lock()  # of the features

    def check(self, reference: ReferenceAudio, transcript: Segment | None) -> ReferenceReport:
        """What of a clip the models have to object to.

        Args:
            reference: long enough to be encoded.
            transcript: what it should say; None leaves that out.

        Raises:
            SynthesisError: the encoders gave a non-finite output.
        """
        return self._queue.beside(lambda: self._check(reference, transcript))

    def _check(self, reference: ReferenceAudio, transcript: Segment | None) -> ReferenceReport:
        findings = self._voices(reference)
        not_checked: dict[str, str] = {}
        if transcript is not None:
            misfits = self._misfits(reference, transcript)
            not_checked = {} if misfits is not None else {"transcript": _NO_HEADS}
            findings += misfits or []
        return ReferenceReport(tuple(findings), not_checked)

    def _misfits(self, reference: ReferenceAudio, transcript: Segment) -> list[ReferenceFinding] | None:
        """None where nothing tells."""
        tokens = self._prompts.tokens(reference)
        with self._lock:
            bert = self._features.features([transcript])
        nothing = torch.zeros(0, dtype=torch.int64)
        alignment = self._aligner.align(Utterance(transcript, bert, None, nothing, tokens))
        if alignment is None:
            return None
        levels = loudness_db(reference.samples, reference.sample_rate_hz, len(tokens))
        reading = Reading(
            is_mark=np.isin(transcript.phoneme_ids, list(self._pause_ids)),
            spans=transcript.spans,
            is_silent=levels < silence_threshold_dbfs(float(np.percentile(levels, 95))),
        )
        return [_within(finding, reference.duration_s) for finding in find_misfits(alignment, reading)]

    def _voices(self, reference: ReferenceAudio) -> list[ReferenceFinding]:
        """Compare the style of stretches of the clip."""
        count = max(2, round(reference.duration_s / _STRETCH_S))
        edges = np.linspace(0, len(reference.samples), count + 1).astype(int)
        levels = frame_levels_dbfs(reference)
        is_voiced = levels > silence_threshold_dbfs(float(np.percentile(levels, 95)))
        styles: dict[int, FloatArray] = {}
        for index, (start, end) in enumerate(itertools.pairwise(edges)):
            frames = slice(*(np.array([start, end]) * len(levels) // len(reference.samples)))
            if is_voiced[frames].mean() >= _LEAST_VOICED:
                stretch = ReferenceAudio(reference.samples[start:end], reference.sample_rate_hz, "")
                styles[index] = self._prompts.style(stretch)
        pairs = list(itertools.combinations(styles, 2))
        if not pairs or min(_likeness(styles[one], styles[other]) for one, other in pairs) >= _LEAST_LIKENESS:
            return []

        def likeness_around(border: int) -> float:
            """Of what is before a border and after it."""
            sides = ([style for index, style in styles.items() if (index < border) is side] for side in (True, False))
            before, after = (np.mean(side, axis=0) for side in sides)
            return _likeness(before, after)

        change = min(list(styles)[1:], key=likeness_around)
        at_s = round(float(edges[change]) / reference.sample_rate_hz, 2)
        message = f"speakers: about {at_s:.1f} s the voice changes; use a clip of one speaker, without music"
        return [ReferenceFinding("speakers", "warning", message, at_s)]


def _within(finding: ReferenceFinding, duration_s: float) -> ReferenceFinding:
    """The encoder hears a little silence behind a clip."""
    last_s = round(duration_s, 2)
    start_s, end_s = (None if time_s is None else min(time_s, last_s) for time_s in (finding.start_s, finding.end_s))
    return replace(finding, start_s=start_s, end_s=end_s)


def _likeness(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))
