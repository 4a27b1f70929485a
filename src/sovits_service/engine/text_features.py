"""BERT features for each phoneme of a segment, cached by text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from sovits_service.models.gpt import BERT_WIDTH
from sovits_service.models.semantic_model import TextEncoder
from sovits_service.types import LanguageRun, Segment

_REMEMBERED_BYTES = 64 * 2**20


class TextFeatures:
    """BERT features of language runs that have any; zeros for all others, and for all without a BERT.

    Args:
        bert: the encoder, or None.
        device, dtype: of the features.
        remembered_bytes: what the features of texts that may come again take; the longest unused go first.
    """

    def __init__(
        self,
        bert: TextEncoder | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        remembered_bytes: int = _REMEMBERED_BYTES,
    ) -> None:
        self._bert = bert
        self._device = device
        self._dtype = dtype
        self._max_bytes = remembered_bytes
        self._bytes = 0
        self._remembered: OrderedDict[str, torch.Tensor] = OrderedDict()  # (characters, 1024) of a run's text

    def features(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Features of all phonemes of these segments, in order.

        Returns:
            (T_text, 1024).
        """
        rows = [self._run_features(run) for segment in segments for run in segment.runs]
        while self._bytes > self._max_bytes:
            _, forgotten = self._remembered.popitem(last=False)
            self._bytes -= forgotten.nbytes
        return torch.cat(rows)

    def _run_features(self, run: LanguageRun) -> torch.Tensor:
        if self._bert is None or run.word2ph is None:
            return torch.zeros(len(run.phoneme_ids), BERT_WIDTH, device=self._device, dtype=self._dtype)
        if run.norm_text not in self._remembered:
            # Each text by itself: padded to others, it would be rounded otherwise, and the same seed might draw
            # another token.
            with torch.inference_mode():
                (self._remembered[run.norm_text],) = self._bert([run.norm_text])
            self._bytes += self._remembered[run.norm_text].nbytes
        self._remembered.move_to_end(run.norm_text)
        characters = self._remembered[run.norm_text].to(self._device, self._dtype)
        repeats = torch.tensor(run.word2ph).to(self._device)
        # With the size given the host need not wait for the device to learn it.
        return characters.repeat_interleave(repeats, dim=0, output_size=len(run.phoneme_ids))
