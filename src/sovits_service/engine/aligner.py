"""Align a finished sequence with its text by attention: choose the heads that read along, and look where they look."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from sovits_service.engine.alignment import (
    Alignment,
    align,
    goes_along,
    head_score,
    loudness_db,
    monotonic_path,
    pause_score,
)
from sovits_service.models.gpt import Head
from sovits_service.models.kv_cache import CachedPrefix
from sovits_service.models.semantic_model import SemanticModel
from sovits_service.types import FloatArray, ReferenceAudio, Segment

log = logging.getLogger(__name__)
_SURE = 0.35  # of a head's score; those of weights that were never trained have less than 0.15
_NEARLY = 0.85  # of the best score: such heads are as good, and one of a lower layer costs less
_MOST_HEADS = 4
_ATTEMPTS = 3  # to find a head, where none was sure
_LEAST_PHONEMES = 8  # of clip and text each, from which a head is told

# The layer of heads that are those of the SoVITS encoder: behind all of a GPT, since they cost more and know no prompt.
ENCODER = 1 << 16

EncoderAttention = Callable[[torch.Tensor, torch.Tensor], FloatArray]  # (T,) tokens, (P,) phonemes: (heads, T, P)
RememberHeads = Callable[[Sequence[tuple[int, int]]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What was spoken, after what.

    Attributes:
        bert: (T_text, 1024) features of all phonemes, the prompt's first.
        prompt: what the reference says; None without a prompt.
        prompt_tokens: (T_prompt,) int64, none without a prompt.
        tokens: of the segment, without the end token.
        reference: the clip that the prompt's tokens are of.
        prefix: text and prompt as the GPT has cached them, in the `layers` of its aligner; None: they are read again.
    """

    segment: Segment
    bert: torch.Tensor
    prompt: Segment | None
    prompt_tokens: torch.Tensor
    tokens: Sequence[int]
    reference: ReferenceAudio | None = None
    prefix: CachedPrefix | None = None


class AlignmentSource(Protocol):
    """Tells when the phonemes of an utterance are said."""

    @property
    def layers(self) -> int:
        """Of the GPT, how many of them it looks into; 0 where it does not, or does not know yet."""
        ...

    def align(self, utterance: Utterance) -> Alignment | None:
        """None where it cannot be told."""
        ...


class Aligner:
    """Aligns by the attention of a GPT or of a SoVITS encoder (`AlignmentSource`). Safe to call from threads.

    Which heads read along differs from checkpoint to checkpoint. They are chosen with the first utterance that has a
    prompt: its clip, with what it says, and its speech are two texts whose tokens are known. Those with the best score
    are taken, whosever they are; those of the GPT where they are nearly as good.

    Args:
        model: the GPT.
        pause_ids: phoneme ids of punctuation marks.
        heads: (layer, index) that were chosen before, in layer `ENCODER` those of the encoder; none: they are still to
            be chosen.
        remember: is given heads that were chosen, to keep them.
        encoder: the attention of the SoVITS encoder; None leaves it out.
    """

    def __init__(
        self,
        model: SemanticModel,
        pause_ids: frozenset[int],
        heads: Sequence[tuple[int, int]] = (),
        remember: RememberHeads | None = None,
        encoder: EncoderAttention | None = None,
    ) -> None:
        self._model = model
        self._pause_ids = pause_ids
        self._heads = [Head(*head) for head in heads]
        self._remember = remember
        self._encoder = encoder
        self._attempts = 0
        self._lock = threading.Lock()

    @property
    def heads(self) -> list[Head]:
        """Those that read along; none where they are not known."""
        return list(self._heads)

    @property
    def layers(self) -> int:
        layers = {head.layer for head in self._heads}
        return 1 + layers.pop() if len(layers) == 1 and ENCODER not in layers else 0

    def align(self, utterance: Utterance) -> Alignment | None:
        """When the phonemes of a fragment are said; None where no head of these models says so."""
        if not utterance.tokens:
            return None
        with self._lock:
            if not self._heads:
                self._choose(utterance)
            heads = self._heads
        if not heads:
            return None
        if heads[0].layer == ENCODER:
            found = self._encoder_attention(utterance.tokens, utterance.segment)
            return align(np.mean([found[head.number] for head in heads], axis=0), follows_sounds=True)
        own = np.mean(self._own_attention(utterance, heads), axis=0)
        columns = _prompt_phonemes(utterance)
        return align(own[:, columns:], own[:, :columns].sum(axis=1))

    def _own_attention(self, utterance: Utterance, heads: Sequence[Head]) -> list[FloatArray]:
        """For each head (T, T_prompt_text + P), of the tokens of the segment."""
        prefix, found = utterance.prefix, None
        if prefix is not None and len(prefix.keys) == self.layers:
            text_length = prefix.length - len(utterance.prompt_tokens)
            found = self._model.text_attention_after(prefix, text_length, torch.tensor(utterance.tokens), heads)
        if found is None:
            found = [whole[len(utterance.prompt_tokens) :] for whole in self._attention(utterance, heads)]
        return found

    def _attention(self, utterance: Utterance, heads: Sequence[Head]) -> Iterator[FloatArray]:
        """For each head (T_prompt + T, T_prompt_text + P)."""
        prompt_ids = utterance.prompt.phoneme_ids if utterance.prompt else ()
        ids = torch.tensor(prompt_ids + utterance.segment.phoneme_ids, dtype=torch.int64)
        tokens = torch.cat([utterance.prompt_tokens.cpu(), torch.tensor(list(utterance.tokens), dtype=torch.int64)])
        return self._model.text_attention(ids, utterance.bert, tokens, heads)

    def _encoder_attention(self, tokens: Sequence[int], text: Segment) -> FloatArray:
        """(heads, T, P): each text is read alone, as it is when waves are made of it."""
        assert self._encoder is not None
        return self._encoder(torch.tensor(tokens), torch.tensor(text.phoneme_ids))

    def _choose(self, utterance: Utterance) -> None:
        """Find the heads by an utterance, where it can tell."""
        if self._attempts >= _ATTEMPTS or utterance.prompt is None or utterance.reference is None:
            return
        if min(_prompt_phonemes(utterance), len(utterance.segment.phoneme_ids)) < _LEAST_PHONEMES:
            return
        self._attempts += 1
        scores = dict(self._gpt_scores(utterance)) | dict(self._encoder_scores(utterance))
        self._heads = best_heads(scores)
        log.info("alignment_heads: %s", [tuple(head) for head in self._heads] or "none is sure")
        if self._heads and self._remember is not None:
            self._remember([(head.layer, head.number) for head in self._heads])

    def _gpt_scores(self, utterance: Utterance) -> Iterator[tuple[Head, float]]:
        config = self._model.config
        heads = [Head(layer, index) for layer in range(config.layers) for index in range(config.heads)]
        rows, columns = utterance.prompt_tokens.shape[0], _prompt_phonemes(utterance)
        for head, attention in zip(heads, self._attention(utterance, heads), strict=True):
            clip, speech = attention[:rows, :columns], attention[rows:, columns:]
            score = (head_score(clip) + head_score(speech)) / 2 if goes_along(clip) and goes_along(speech) else 0.0
            yield head, score * self._pause_score(clip, utterance) if score >= _SURE else score

    def _encoder_scores(self, utterance: Utterance) -> Iterator[tuple[Head, float]]:
        """Of the speech, which is as long as what it is to align: a long clip says the same sounds at many places."""
        if self._encoder is None or utterance.prompt is None:
            return
        clips = self._encoder_attention(utterance.prompt_tokens.tolist(), utterance.prompt)
        speeches = self._encoder_attention(utterance.tokens, utterance.segment)
        for number, (clip, speech) in enumerate(zip(clips, speeches, strict=True)):
            score = head_score(speech) if goes_along(speech) else 0.0
            yield Head(ENCODER, number), score * self._pause_score(clip, utterance) if score >= _SURE else score

    def _pause_score(self, clip: FloatArray, utterance: Utterance) -> float:
        """How well a head's path through the clip has the marks where the clip is quiet."""
        assert utterance.prompt is not None
        assert utterance.reference is not None
        path = monotonic_path(np.log(clip / np.maximum(clip.sum(axis=1, keepdims=True), 1e-9) + 1e-3))
        is_pause = np.isin(utterance.prompt.phoneme_ids, list(self._pause_ids))
        reference = utterance.reference
        return pause_score(path, is_pause, loudness_db(reference.samples, reference.sample_rate_hz, len(clip)))


def best_heads(scores: dict[Head, float]) -> list[Head]:
    """Those that are sure and nearly as good as the best, of the lowest layer that has one; none where none is sure."""
    best = max(scores.values(), default=0.0)
    if best < _SURE:
        return []
    good = {head: score for head, score in scores.items() if score >= _NEARLY * best}
    lowest = min(head.layer for head in good)
    of_layer = sorted((head for head in good if head.layer == lowest), key=lambda head: -good[head])
    return sorted(of_layer[:_MOST_HEADS])


def _prompt_phonemes(utterance: Utterance) -> int:
    return len(utterance.prompt.phoneme_ids) if utterance.prompt else 0
