"""The GPT: phoneme ids, BERT features and prompt tokens in, logits of the next semantic token out.

A post-norm transformer over [text | semantic tokens]: text attends to all of the text, semantic tokens to the text and
causally to themselves (VALL-E style, arXiv 2301.02111). Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from sovits_service.models.kv_cache import CachedPrefix, KvCache
from sovits_service.models.linear import Linear, linear
from sovits_service.types import FloatArray

BERT_WIDTH = 1024
MAX_POSITIONS = 4000


@dataclass(frozen=True, slots=True)
class GptConfig:
    """Sizes of a GPT checkpoint."""

    width: int
    heads: int
    layers: int
    feed_forward: int
    phoneme_vocab: int
    semantic_vocab: int  # the last id is the end token

    @property
    def end_token(self) -> int:
        return self.semantic_vocab - 1

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, object], state: Mapping[str, torch.Tensor]) -> GptConfig:
        """Read the sizes: from the tensors where they say, else from the checkpoint's `config["model"]`.

        Raises:
            KeyError: a tensor or a configuration key that the sizes need is missing.
        """
        model = config["model"]
        if not isinstance(model, Mapping):
            raise KeyError("model")
        layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("h.layers."))
        return cls(
            width=state["ar_text_embedding.word_embeddings.weight"].shape[1],
            heads=int(model["head"]),
            layers=layers,
            feed_forward=state["h.layers.0.linear1.weight"].shape[0],
            phoneme_vocab=state["ar_text_embedding.word_embeddings.weight"].shape[0],
            semantic_vocab=state["ar_audio_embedding.word_embeddings.weight"].shape[0],
        )


class Head(NamedTuple):
    """An attention head: its layer, and its place in the layer; both count from 0."""

    layer: int
    number: int


class Prefix(NamedTuple):
    """What a sequence begins with.

    Attributes:
        phoneme_ids: (T_text,) int64, the prompt's phonemes before the text's.
        bert: (T_text, 1024) features.
        prompt_tokens: (T_prompt,) int64 tokens of the reference, or none.
    """

    phoneme_ids: torch.Tensor
    bert: torch.Tensor
    prompt_tokens: torch.Tensor

    @property
    def length(self) -> int:
        return self.phoneme_ids.shape[0] + self.prompt_tokens.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class PrefixBatch:
    """Prefixes side by side, padded at the right; what is in the padding makes no difference.

    Attributes:
        phoneme_ids: (B, T) int64, those of the text in front.
        bert: (B, T, 1024) features of the text.
        tokens: (B, T) int64, those of the prompt in their places behind the text.
        numbers: (4, B) int64, the rows that follow.
    """

    phoneme_ids: torch.Tensor
    bert: torch.Tensor
    tokens: torch.Tensor
    numbers: torch.Tensor

    @classmethod
    def empty(cls, rows: int, length: int, device: torch.device, dtype: torch.dtype) -> PrefixBatch:
        """Room for so many rows: of one entry each, for slot 0."""
        numbers = torch.tensor([0, 1, 0, 0]).repeat(rows, 1).T.contiguous().to(device)
        ids, tokens = torch.zeros((2, rows, length), dtype=torch.int64, device=device)
        return cls(ids, torch.zeros((rows, length, BERT_WIDTH), dtype=dtype, device=device), tokens, numbers)

    @property
    def text_lengths(self) -> torch.Tensor:
        """(B,) phonemes."""
        return self.numbers[0]

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) phonemes and tokens, at least 1."""
        return self.numbers[1]

    @property
    def slots(self) -> torch.Tensor:
        """(B,) where each prefix goes."""
        return self.numbers[2]

    @property
    def sources(self) -> torch.Tensor:
        """(B,) the row that counts: its own, or in a row without a prefix that of another with the same slot."""
        return self.numbers[3]

    def corner(self, rows: int, length: int) -> PrefixBatch:
        """A view of the first rows and entries."""
        place = (slice(rows), slice(length))
        return PrefixBatch(self.phoneme_ids[place], self.bert[place], self.tokens[place], self.numbers[:, :rows])

    def fill(self, row: int, prefix: Prefix) -> None:
        """Write a prefix into a row, but for its numbers."""
        text_length = prefix.phoneme_ids.shape[0]
        self.phoneme_ids[row, :text_length] = prefix.phoneme_ids
        self.bert[row, :text_length] = prefix.bert
        self.tokens[row, text_length : prefix.length] = prefix.prompt_tokens


def stays_float32(name: str) -> bool:
    """Whether a parameter is float32 where the products are in bfloat16.

    With 8 bits each sum of a layer and its input would lose what the layer adds, positions would blur, and logits would
    tie. So what goes from layer to layer, its norms and the logits are float32: half the error of bfloat16 throughout.
    """
    return "norm" in name or name.endswith("alpha") or name.startswith("ar_predict_layer")


class TokenEmbedding(nn.Module):
    """An embedding table under the name that checkpoints use."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.word_embeddings(ids)
        return embedded


def sine_positions(width: int) -> torch.Tensor:
    """(4000, width) float32, a row for each position."""
    # On the CPU whatever the default device: a model built on "meta" is assigned its parameters, but not this.
    position = torch.arange(MAX_POSITIONS, dtype=torch.float32, device="cpu")[:, None]
    steps = torch.arange(0, width, 2, dtype=torch.float32, device="cpu")
    angles = position * torch.exp(steps * -(math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class SinePosition(nn.Module):
    """Sinusoidal positions (arXiv 1706.03762, section 3.5) with a learnt scale `alpha`."""

    table: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.register_buffer("table", sine_positions(width), persistent=False)

    def forward(self, x: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Add positions to x (..., T, width); `positions` (same leading shape, int64) or 0..T-1."""
        rows = self.table[: x.shape[-2]] if positions is None else self.table[positions]
        return x + self.alpha * rows.to(self.alpha.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, width) to queries, keys and values (B, heads, T, head_dim)."""
        batch, length, width = x.shape
        qkv = linear(x.to(self.in_proj_weight.dtype), self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mix values; `mask` is True where a query may look. Returns (B, T_query, width)."""
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: torch.Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return output


class Layer(nn.Module):
    """A post-norm transformer layer with a ReLU feed-forward part."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.linear1 = Linear(config.width, config.feed_forward)
        self.linear2 = Linear(config.feed_forward, config.width)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """What follows attention: residual, norm, feed-forward, residual, norm."""
        x = self.norm1(x + attended)
        hidden = F.relu(self.linear1(x.to(self.linear1.weight.dtype)))
        output: torch.Tensor = self.norm2(x + self.linear2(hidden))
        return output

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Whole sequences x (B, T, width); returns output, keys and values, the latter two (B, heads, T, head_dim)."""
        q, k, v = self.self_attn.project(x)
        return self.finish(x, self.self_attn.attend(q, k, v, mask)), k, v


class Stack(nn.Module):
    """The layers, under the name that checkpoints use."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def __iter__(self) -> Iterator[Layer]:
        return iter(cast("list[Layer]", self.layers))


class TextToSemantic(nn.Module):
    """The autoregressive model from text to semantic tokens."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        self.bert_proj = Linear(BERT_WIDTH, config.width)
        self.ar_text_embedding = TokenEmbedding(config.phoneme_vocab, config.width)
        self.ar_text_position = SinePosition(config.width)
        self.ar_audio_embedding = TokenEmbedding(config.semantic_vocab, config.width)
        self.ar_audio_position = SinePosition(config.width)
        self.h = Stack(config)
        self.ar_predict_layer = Linear(config.width, config.semantic_vocab, bias=False)

    @property
    def backend(self) -> Literal["torch"]:
        return "torch"

    @property
    def precision(self) -> Literal["float32", "float16", "bfloat16"]:
        names: dict[torch.dtype, Literal["float16", "bfloat16"]]
        names = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
        return names.get(self.dtype, "float32")

    @property
    def weights_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        return self.bert_proj.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its products, keys and values."""
        return self.bert_proj.weight.dtype

    def open_slots(self, slots: int, capacity_tokens: int) -> TorchSlots:
        return TorchSlots(self, self.new_cache(slots, capacity_tokens))

    def new_cache(self, slots: int, capacity_tokens: int) -> KvCache:
        """A cache for `slots` sequences of up to `capacity_tokens`, on the model's device in its dtype."""
        config = self.config
        return KvCache(
            layers=config.layers,
            slots=slots,
            heads=config.heads,
            capacity_tokens=capacity_tokens,
            head_dim=config.width // config.heads,
            device=self.device,
            dtype=self.dtype,
        )

    def embed_text(self, phoneme_ids: torch.Tensor, bert: torch.Tensor) -> torch.Tensor:
        """(B, T_text) int64 ids and (B, T_text, 1024) features to (B, T_text, width)."""
        text: torch.Tensor = self.ar_text_position(self.ar_text_embedding(phoneme_ids) + self.bert_proj(bert))
        return text

    def embed_semantic(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T_sem) int64 tokens to (B, T_sem, width); positions restart at 0."""
        semantic: torch.Tensor = self.ar_audio_position(self.ar_audio_embedding(tokens))
        return semantic

    def forward(
        self,
        phoneme_ids: torch.Tensor,
        bert: torch.Tensor,
        tokens: torch.Tensor,
        text_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Teacher-forced logits of the token after each given one.

        Args:
            phoneme_ids: (B, T_text) int64, padded at the right to the longest.
            bert: (B, T_text, 1024) features, zeros where there are none.
            tokens: (B, T_sem) int64; padding at the right changes nothing before it.
            text_lengths: (B,) int64; None where nothing is padded.

        Returns:
            (B, 1 + T_sem, semantic_vocab): at 0 after the text alone, at i after i tokens.
        """
        x = torch.cat([self.embed_text(phoneme_ids, bert), self.embed_semantic(tokens)], dim=1)
        text_length = phoneme_ids.shape[1]
        mask = prefix_mask(text_length, tokens.shape[1], x.device)
        after_text = torch.full((x.shape[0], 1), text_length - 1, device=x.device)
        if text_lengths is not None:
            is_text = torch.arange(text_length, device=x.device) < text_lengths[:, None]
            mask = mask & F.pad(is_text, (0, tokens.shape[1]), value=True)[:, None, None, :]
            after_text = text_lengths[:, None] - 1
        for layer in self.h:
            x, _, _ = layer(x, mask)
        first = x.gather(1, after_text[..., None].expand(-1, -1, x.shape[2]))
        logits: torch.Tensor = self.ar_predict_layer(torch.cat([first, x[:, text_length:]], dim=1))
        return logits

    @torch.inference_mode()
    def text_attention(
        self,
        phoneme_ids: torch.Tensor,
        bert: torch.Tensor,
        tokens: torch.Tensor,
        heads: Sequence[Head],
    ) -> Iterator[FloatArray]:
        device, dtype = self.device, self.dtype
        text = self.embed_text(phoneme_ids[None].to(device), bert[None].to(device, dtype))
        x = torch.cat([text, self.embed_semantic(tokens[None].to(device))], dim=1)
        mask = prefix_mask(phoneme_ids.shape[0], tokens.shape[0], device)
        deepest = max(head.layer for head in heads)
        for index, layer in enumerate(self.h):
            q, k, v = layer.self_attn.project(x)
            for head in heads:
                if head.layer == index:
                    queries, keys = q[0, head.number], k[0, head.number]
                    yield attention_to_text(queries[len(phoneme_ids) :], keys[: len(phoneme_ids)])
            if index == deepest:
                return
            x = layer.finish(x, layer.self_attn.attend(q, k, v, mask))

    @torch.inference_mode()
    def text_attention_after(
        self, prefix: CachedPrefix, text_length: int, tokens: torch.Tensor, heads: Sequence[Head]
    ) -> list[FloatArray]:
        device, length = self.bert_proj.weight.device, len(tokens)
        positions = torch.arange(length, device=device) + prefix.length - text_length
        x = self.ar_audio_position(self.ar_audio_embedding(tokens[None].to(device)), positions[None])
        mask = torch.ones(length, prefix.length + length, dtype=torch.bool, device=device).tril(prefix.length)
        *below, layer = list(self.h)[: heads[0].layer + 1]
        for lower, keys, values in zip(below, prefix.keys, prefix.values, strict=False):
            q, k, v = lower.self_attn.project(x)
            k, v = torch.cat([keys[None], k], dim=2), torch.cat([values[None], v], dim=2)
            x = lower.finish(x, lower.self_attn.attend(q, k, v, mask))
        q, _, _ = layer.self_attn.project(x)
        of_text = prefix.keys[heads[0].layer, :, :text_length]
        return [attention_to_text(q[0, head.number], of_text[head.number]) for head in heads]

    def prefill(
        self, phoneme_ids: torch.Tensor, bert: torch.Tensor, prompt_tokens: torch.Tensor, cache: KvCache, slot: int
    ) -> torch.Tensor:
        """Run text and prompt of one sequence and leave its keys and values in a slot.

        Args:
            phoneme_ids: (T_text,) int64, the prompt's phonemes before the text's.
            bert: (T_text, 1024) features.
            prompt_tokens: (T_prompt,) int64 tokens of the reference, or none.

        Returns:
            (semantic_vocab,) logits of the first token.
        """
        text = self.embed_text(phoneme_ids[None], bert[None])
        x = torch.cat([text, self.embed_semantic(prompt_tokens[None])], dim=1)
        mask = prefix_mask(phoneme_ids.shape[0], prompt_tokens.shape[0], x.device)
        for index, layer in enumerate(self.h):
            x, keys, values = layer(x, mask)
            cache.write_prefix(index, slot, keys[0], values[0])
        logits: torch.Tensor = self.ar_predict_layer(x[0, -1])
        return logits

    def prefill_batch(self, batch: PrefixBatch, cache: KvCache) -> torch.Tensor:
        """`prefill` for several sequences in one pass. Nothing depends on the host but shapes, so it can be captured.

        A sequence's result depends on the shape of the batch in its last bits, and on nothing else of the batch.
        Entries of a slot behind its prefix, up to T, hold nothing of meaning afterwards.

        Returns:
            (B, semantic_vocab) logits of each first token.
        """
        length = batch.phoneme_ids.shape[1]
        places = torch.arange(length, device=batch.numbers.device)
        is_text, is_prefix = places < batch.text_lengths[:, None], places < batch.lengths[:, None]
        text = self.ar_text_position(
            self.ar_text_embedding(batch.phoneme_ids) + self.bert_proj(batch.bert), places.clamp(max=MAX_POSITIONS - 1)
        )
        positions = (places - batch.text_lengths[:, None]).clamp(0, MAX_POSITIONS - 1)
        semantic = self.ar_audio_position(self.ar_audio_embedding(batch.tokens), positions)
        x = torch.where(is_text[..., None], text, semantic).masked_fill(~is_prefix[..., None], 0.0)
        mask = (places <= places[:, None]) | (is_text[:, :, None] & is_text[:, None, :])
        for index, layer in enumerate(self.h):
            x, keys, values = layer(x, mask[:, None])
            keys, values = keys.index_select(0, batch.sources), values.index_select(0, batch.sources)
            cache.write_prefixes(index, batch.slots, keys, values)
        last = x.gather(1, (batch.lengths - 1)[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        logits: torch.Tensor = self.ar_predict_layer(last)
        return logits.index_select(0, batch.sources)

    def decode_step(
        self,
        tokens: torch.Tensor,
        token_positions: torch.Tensor,
        cache_positions: torch.Tensor,
        cache: KvCache,
        bound: int,
    ) -> torch.Tensor:
        """One token further for the sequences in the first B slots.

        Args:
            tokens: (B,) int64, the newest token of each.
            token_positions: (B,) int64, its position among the semantic tokens, the prompt's included.
            cache_positions: (B,) int64, its place in the slot, which is the number of entries before it.
            bound: an int above every cache position: how much of the slots is looked at.

        Returns:
            (B, semantic_vocab) logits. Rows of unused slots hold nothing of meaning.
        """
        x = self.ar_audio_position(self.ar_audio_embedding(tokens), token_positions)[:, None]
        visible = torch.arange(bound, device=x.device) <= cache_positions[:, None]
        mask = visible[:, None, None, :]
        for index, layer in enumerate(self.h):
            q, k, v = layer.self_attn.project(x)
            keys, values = cache.append(index, cache_positions, k[:, :, 0], v[:, :, 0], bound)
            x = layer.finish(x, layer.self_attn.attend(q, keys, values, mask))
        logits: torch.Tensor = self.ar_predict_layer(x[:, 0])
        return logits


class TorchSlots:
    """The model with a cache, as the engine runs it (`SemanticSlots`): the reference, and what runs on CUDA."""

    def __init__(self, model: TextToSemantic, cache: KvCache) -> None:
        self._model = model
        self.cache = cache
        self.count, self.capacity_tokens = cache.slots, cache.capacity_tokens
        self.device, self.dtype = cache.keys.device, cache.keys.dtype

    def prefill(
        self, phoneme_ids: torch.Tensor, bert: torch.Tensor, prompt_tokens: torch.Tensor, slot: int
    ) -> torch.Tensor:
        return self._model.prefill(phoneme_ids, bert, prompt_tokens, self.cache, slot)

    def prefill_batch(self, batch: PrefixBatch) -> torch.Tensor:
        """See `TextToSemantic.prefill_batch`."""
        return self._model.prefill_batch(batch, self.cache)

    def decode_step(
        self, tokens: torch.Tensor, token_positions: torch.Tensor, cache_positions: torch.Tensor, bound: int
    ) -> torch.Tensor:
        return self._model.decode_step(tokens, token_positions, cache_positions, self.cache, bound)

    def clear(self, slot: int) -> None:
        self.cache.clear(slot)


def prefix_mask(text_length: int, token_length: int, device: torch.device) -> torch.Tensor:
    """(T, T) bool, True where a query (row) may look at a key: text sees text, tokens see text and earlier tokens."""
    length = text_length + token_length
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask[:text_length, :text_length] = True
    return mask


def attention_to_text(queries: torch.Tensor, keys: torch.Tensor) -> FloatArray:
    """How the attention that tokens pay to the text is shared out over its phonemes, in one head.

    Args:
        queries: (T_tokens, head_dim).
        keys: (T_text, head_dim).

    Returns:
        (T_tokens, T_text) float32; a row adds up to 1. What goes to other tokens is left out, so that it is not needed.
    """
    scores = (queries @ keys.T).float() / math.sqrt(queries.shape[1])
    array: FloatArray = scores.softmax(dim=1).cpu().numpy()
    return array
