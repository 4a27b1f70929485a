"""BERT (Devlin et al. 2019), the meaning of Chinese text: texts in, one vector per character out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from sovits_service.errors import CheckpointError
from sovits_service.models.linear import replace_linear

_DROPPED_LAYERS = 2  # the features are the third-last hidden state, so the last two layers never run


class Bert(nn.Module):
    """transformers' BERT up to its third-last hidden state, with its tokenizer.

    Args:
        config: the folder's `config.json`.
        tokenizer: the folder's, without padding and truncation.
    """

    def __init__(self, config: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        super().__init__()
        n_layers = int(config.get("num_hidden_layers", 24)) - _DROPPED_LAYERS
        if n_layers < 1:
            raise CheckpointError("the BERT has fewer than the three layers that its features need")
        self.tokenizer = tokenizer
        self.start_id, self.end_id, self.pad_id = (_special_id(tokenizer, name) for name in ("[CLS]", "[SEP]", "[PAD]"))
        self.model = BertModel(BertConfig(**{**config, "num_hidden_layers": n_layers}), add_pooling_layer=False)
        replace_linear(self.model)
        self.max_tokens = self.model.config.max_position_embeddings - 2
        # These are in no checkpoint, so a model built on the meta device would stay without them.
        positions = torch.arange(self.model.config.max_position_embeddings, device="cpu")[None]
        self.model.embeddings.register_buffer("position_ids", positions, persistent=False)
        self.model.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)

    def forward(self, texts: Sequence[str]) -> list[Tensor]:
        """Reads texts, all in one batch.

        Args:
            texts: each any text; characters that the tokenizer joins share a vector, whitespace gets zeros.

        Returns:
            For each text (characters, width) in the model's dtype.
        """
        # Half of a surrogate pair is in a str, but not in Unicode; it becomes a question mark.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        tokens = [self.tokenizer.encode(text, add_special_tokens=False) for text in readable]
        rows = [row for encoding in tokens for row in self._rows(encoding.ids)]
        hidden = self._hidden(rows) if rows else None
        features: list[Tensor] = []
        first_row = 0
        for text, encoding in zip(texts, tokens, strict=True):
            n_rows = -(-len(encoding.ids) // self.max_tokens)
            vectors = (
                []
                if hidden is None
                else [hidden[first_row + i, 1 : 1 + len(row)] for i, row in enumerate(self._pieces(encoding.ids))]
            )
            first_row += n_rows
            features.append(self._spread(len(text), encoding.offsets, vectors))
        return features

    def _pieces(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """A text beyond the positions of the model is read in pieces."""
        for start in range(0, len(ids), self.max_tokens):
            yield ids[start : start + self.max_tokens]

    def _rows(self, ids: Sequence[int]) -> Iterator[list[int]]:
        for piece in self._pieces(ids):
            yield [self.start_id, *piece, self.end_id]

    def _hidden(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of each row -> (rows, longest, width)."""
        weight = self.model.embeddings.word_embeddings.weight
        longest = max(map(len, rows))
        padded = [[*row, *[self.pad_id] * (longest - len(row))] for row in rows]
        ids = torch.tensor(padded, device=weight.device)
        lengths = torch.tensor([len(row) for row in rows], device=weight.device)
        positions = torch.arange(longest, device=weight.device)[None]
        is_padding = positions >= lengths[:, None]
        bias = torch.zeros(is_padding.shape, device=weight.device, dtype=weight.dtype)
        bias = bias.masked_fill(is_padding, torch.finfo(weight.dtype).min)[:, None, None, :].expand(-1, 1, longest, -1)
        # Embeddings and encoder one by one: the mask that the whole model builds asks the device for a value.
        embedded = self.model.embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))
        hidden: Tensor = self.model.encoder(embedded, attention_mask=bias).last_hidden_state
        return hidden

    def _spread(self, n_characters: int, offsets: Sequence[tuple[int, int]], vectors: Sequence[Tensor]) -> Tensor:
        """Token vectors to characters; those of no token take the row of zeros behind the last token."""
        weight = self.model.embeddings.word_embeddings.weight
        by_token = torch.cat([*vectors, weight.new_zeros(1, weight.shape[1])])
        token_of = [len(offsets)] * n_characters
        for token, (start, end) in enumerate(offsets):
            token_of[start:end] = [token] * (end - start)
        return F.embedding(torch.tensor(token_of, dtype=torch.int64, device=weight.device), by_token)


def _special_id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise CheckpointError(f"the BERT folder's vocabulary lacks {token}")
    return number
