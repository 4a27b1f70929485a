"""What the engine needs of a GPT, a BERT and a HuBERT, whichever library computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import torch

from sovits_service.models.gpt import GptConfig, Head
from sovits_service.models.kv_cache import CachedPrefix, KvCache
from sovits_service.types import FloatArray

Backend = Literal["torch", "onnx"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]
TextEncoder = Callable[[Sequence[str]], list[torch.Tensor]]  # a BERT: texts to (characters, 1024) each
ContentEncoder = Callable[[torch.Tensor], torch.Tensor]  # a HuBERT: (1, T) at 16 kHz to (1, channels, frames)


class SemanticSlots(Protocol):
    """Sequences that run: a slot holds one, its row in every step. Nothing of a row depends on the other rows."""

    @property
    def count(self) -> int: ...

    @property
    def capacity_tokens(self) -> int:
        """Text, prompt and new tokens of one sequence together."""
        ...

    @property
    def cache(self) -> KvCache: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the features that `prefill` takes."""
        ...

    def prefill(
        self, phoneme_ids: torch.Tensor, bert: torch.Tensor, prompt_tokens: torch.Tensor, slot: int
    ) -> torch.Tensor:
        """Run text and prompt of one sequence and keep them in a slot.

        Args:
            phoneme_ids: (T_text,) int64, the prompt's phonemes before the text's.
            bert: (T_text, 1024) features.
            prompt_tokens: (T_prompt,) int64 tokens of the reference, or none.

        Returns:
            (semantic_vocab,) logits of the first token.
        """
        ...

    def decode_step(
        self, tokens: torch.Tensor, token_positions: torch.Tensor, cache_positions: torch.Tensor, bound: int
    ) -> torch.Tensor:
        """One token further for the sequences in the first B slots.

        Args:
            tokens: (B,) int64, the newest token of each.
            token_positions: (B,) int64, its position among the semantic tokens, the prompt's included.
            cache_positions: (B,) int64, its place in the slot, which is the number of entries before it.
            bound: an int above every cache position: how much of the slots is looked at.

        Returns:
            (B, semantic_vocab) float logits, valid until the next call. Rows of unused slots hold nothing of meaning.
        """
        ...

    def clear(self, slot: int) -> None:
        """Wipe a slot after a failure, so that nothing non-finite stays for its next user."""
        ...


class SemanticModel(Protocol):
    """A GPT that is loaded; the weights are shared by all its slots."""

    @property
    def config(self) -> GptConfig: ...

    @property
    def backend(self) -> Backend: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def weights_bytes(self) -> int:
        """What the weights take in memory."""
        ...

    def text_attention(
        self,
        phoneme_ids: torch.Tensor,
        bert: torch.Tensor,
        tokens: torch.Tensor,
        heads: Sequence[Head],
    ) -> Iterator[FloatArray]:
        """Read a finished sequence again, in one pass up to the deepest of these heads.

        Args:
            phoneme_ids: (T_text,) int64, the prompt's phonemes before the text's.
            bert: (T_text, 1024) features.
            tokens: (T_tokens,) int64, the prompt's before those of the speech.
            heads: in the order of their layers.

        Yields:
            For each head (T_tokens, T_text) float32: how the attention that a token pays to the text is shared
            out over its phonemes; a row adds up to 1. It is that of the query which has the token as its input.
        """
        ...

    def text_attention_after(
        self, prefix: CachedPrefix, text_length: int, tokens: torch.Tensor, heads: Sequence[Head]
    ) -> list[FloatArray] | None:
        """`text_attention` of the tokens behind a prefix, which costs what they take alone.

        Args:
            prefix: up to the layer of the heads.
            text_length: how much of it is text.
            tokens: (T_tokens,) int64, those of the speech.
            heads: of one layer.

        Returns:
            For each head (T_tokens, T_text); None where this cannot be computed any more, and only a whole pass can.
        """
        ...

    def open_slots(self, slots: int, capacity_tokens: int) -> SemanticSlots:
        """Room for `slots` sequences of up to `capacity_tokens`."""
        ...
