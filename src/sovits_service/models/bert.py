"""BERT (Devlin et al. 2019), the features of Chinese text: one vector per character.

Attribute names are the keys of transformers' `BertModel`, whose folders are loaded as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from sovits_service.errors import CheckpointError
from sovits_service.models.linear import Linear
from sovits_service.models.transformer import attend, require_config

DROPPED_LAYERS = 2  # the features are the third-last hidden state, so the last two layers never run
_SUPPORTED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}


@dataclass(frozen=True, slots=True)
class BertSizes:
    """The sizes in a folder's `config.json`, by its own names; the defaults are the published large model's."""

    vocab_size: int = 21128
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BertSizes:
        """Raise CheckpointError for a variant of the model that is not supported."""
        require_config(config, "BERT", _SUPPORTED)
        sizes = cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})
        if sizes.num_hidden_layers <= DROPPED_LAYERS:
            raise CheckpointError("the BERT has fewer than the three layers that its features need")
        return sizes


class BertReader:
    """Texts to token ids, and the hidden states of tokens back to characters.

    Args:
        tokenizer: the folder's, without padding and truncation.
        max_positions: of the model; a longer text is read in pieces.

    Raises:
        CheckpointError: the vocabulary lacks a special token.
    """

    def __init__(self, tokenizer: Tokenizer, max_positions: int) -> None:
        self.tokenizer = tokenizer
        self.start_id, self.end_id, self.pad_id = (_special_id(tokenizer, name) for name in ("[CLS]", "[SEP]", "[PAD]"))
        self._max_tokens = max_positions - 2

    def read(
        self, texts: Sequence[str], hide: Callable[[list[list[int]]], Sequence[Tensor]], zeros: Tensor
    ) -> list[Tensor]:
        """The features of each character of each text, (characters, width).

        Args:
            texts: each any text; characters that the tokenizer joins share a vector, whitespace gets zeros.
            hide: the model: token ids of each row to its hidden states (tokens, width).
            zeros: (1, width), for characters of no token.
        """
        # Half of a surrogate pair is in a str, but not in Unicode; it becomes a question mark.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encodings = [self.tokenizer.encode(text, add_special_tokens=False) for text in readable]
        pieces = [self._pieces(encoding.ids) for encoding in encodings]
        rows = [[self.start_id, *piece, self.end_id] for text in pieces for piece in text]
        hidden = iter(hide(rows) if rows else ())
        features: list[Tensor] = []
        for text, encoding, own in zip(texts, encodings, pieces, strict=True):
            by_token = torch.cat([*(next(hidden)[1 : 1 + len(piece)] for piece in own), zeros])
            features.append(_spread(len(text), encoding.offsets, by_token))
        return features

    def _pieces(self, ids: Sequence[int]) -> list[Sequence[int]]:
        return [ids[start : start + self._max_tokens] for start in range(0, len(ids), self._max_tokens)]


class Bert(nn.Module):
    """BERT up to its third-last hidden state, with its tokenizer.

    Args:
        config: the folder's `config.json`.
        tokenizer: the folder's, without padding and truncation.

    Raises:
        CheckpointError: the config asks for another variant than BERT's, or the vocabulary lacks a special token.
    """

    def __init__(self, config: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        super().__init__()
        self.sizes = BertSizes.from_config(config)
        self.reader = BertReader(tokenizer, self.sizes.max_position_embeddings)
        self.embeddings = _Embeddings(self.sizes)
        self.encoder = _Encoder(self.sizes)

    def forward(self, texts: Sequence[str]) -> list[Tensor]:
        """Read texts, all in one batch; for each text (characters, width) in the model's dtype."""
        weight = self.embeddings.word_embeddings.weight
        return self.reader.read(texts, self._hidden, weight.new_zeros(1, weight.shape[1]))

    def _hidden(self, rows: list[list[int]]) -> Sequence[Tensor]:
        """Token ids of each row -> its (longest, width)."""
        weight = self.embeddings.word_embeddings.weight
        longest = max(map(len, rows))
        padded = [[*row, *[self.reader.pad_id] * (longest - len(row))] for row in rows]
        ids = torch.tensor(padded, device=weight.device)
        lengths = torch.tensor([len(row) for row in rows], device=weight.device)
        positions = torch.arange(longest, device=weight.device)[None]
        is_padding = positions >= lengths[:, None]
        bias = torch.zeros(is_padding.shape, device=weight.device, dtype=weight.dtype)
        bias = bias.masked_fill(is_padding, torch.finfo(weight.dtype).min)[:, None, None, :].expand(-1, 1, longest, -1)
        hidden: Tensor = self.encoder(self.embeddings(ids), bias)
        return hidden.unbind()


def _spread(n_characters: int, offsets: Sequence[tuple[int, int]], by_token: Tensor) -> Tensor:
    """Token vectors to characters; those of no token take the row of zeros behind the last token."""
    token_of = [len(offsets)] * n_characters
    for token, (start, end) in enumerate(offsets):
        token_of[start:end] = [token] * (end - start)
    return F.embedding(torch.tensor(token_of, dtype=torch.int64, device=by_token.device), by_token)


def _special_id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise CheckpointError(f"the BERT folder's vocabulary lacks {token}")
    return number


class _Embeddings(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(sizes.vocab_size, sizes.hidden_size)
        self.position_embeddings = nn.Embedding(sizes.max_position_embeddings, sizes.hidden_size)
        self.token_type_embeddings = nn.Embedding(sizes.type_vocab_size, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, sizes.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) int64 token ids, all of the first type -> (B, T, width)."""
        summed = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        normed: Tensor = self.LayerNorm(summed + self.position_embeddings.weight[: ids.shape[1]])
        return normed


class _SelfAttention(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.heads = sizes.num_attention_heads
        self.query, self.key, self.value = (Linear(sizes.hidden_size, sizes.hidden_size) for _ in range(3))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return attend(self.query(x), self.key(x), self.value(x), self.heads, bias)


class _Residual(nn.Module):
    """A projection that is added to its branch's input and normalised."""

    def __init__(self, width_in: int, sizes: BertSizes) -> None:
        super().__init__()
        self.dense = Linear(width_in, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, sizes.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(x) + residual)
        return normed


class _Layer(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _SelfAttention(sizes), "output": _Residual(sizes.hidden_size, sizes)})
        self.intermediate = nn.ModuleDict({"dense": Linear(sizes.hidden_size, sizes.intermediate_size)})
        self.output = _Residual(sizes.intermediate_size, sizes)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, bias), x)
        normed: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return normed


class _Encoder(nn.Module):
    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Layer(sizes) for _ in range(sizes.num_hidden_layers - DROPPED_LAYERS)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x, bias)
        return x
