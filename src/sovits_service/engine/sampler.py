"""Sample the next tokens; every row has its own parameters and random number."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class SamplingRows:
    """Sampling parameters, a row for each sequence; all (B,) on the logits' device.

    Attributes:
        top_k: int64, at least 1.
        top_p, temperature, repetition_penalty: float32.
        may_end: bool, whether the end token is allowed.
    """

    top_k: torch.Tensor
    top_p: torch.Tensor
    temperature: torch.Tensor
    repetition_penalty: torch.Tensor
    may_end: torch.Tensor

    def __getitem__(self, rows: slice) -> SamplingRows:
        return SamplingRows(
            self.top_k[rows],
            self.top_p[rows],
            self.temperature[rows],
            self.repetition_penalty[rows],
            self.may_end[rows],
        )


def penalise(logits: torch.Tensor, seen: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """Apply the repetition penalty (CTRL, arXiv 1909.05858, section 4.1) and bar the end token where it is too early.

    Args:
        logits: (B, V), the end token last.
        seen: (B, V) bool, tokens that the sequence holds already, those of the prompt included.

    Returns:
        (B, V) float32.
    """
    logits = logits.float()
    penalty = rows.repetition_penalty[:, None]
    logits = torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    is_end = torch.arange(logits.shape[1], device=logits.device) == logits.shape[1] - 1
    return logits.masked_fill(is_end & ~rows.may_end[:, None], -torch.inf)


def filtered_probabilities(logits: torch.Tensor, rows: SamplingRows) -> tuple[torch.Tensor, torch.Tensor]:
    """The distribution that is sampled from: nucleus, temperature, top-k, in this order.

    Args:
        logits: (B, V) float32, penalised.

    Returns:
        Probabilities (B, V) in falling order of the logits, and the tokens (B, V) int64 they belong to.
    """
    ordered, tokens = logits.sort(dim=1, descending=True)
    # parity: the token that crosses top_p goes too, and the first always stays; temperature comes after.
    beyond = (ordered.softmax(1).cumsum(1) > rows.top_p[:, None]) & (rows.top_p[:, None] < 1)
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, -torch.inf) / rows.temperature.clamp(min=_MIN_TEMPERATURE)[:, None]
    # parity: tokens that tie with the k-th stay.
    kth = (rows.top_k.clamp(1, logits.shape[1]) - 1)[:, None]
    ordered = ordered.masked_fill(ordered < ordered.gather(1, kth), -torch.inf)
    return ordered.softmax(1), tokens


def sample(
    logits: torch.Tensor, seen: torch.Tensor, rows: SamplingRows, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token for each row by inversion of the distribution function.

    One number a draw, from the sequence's own generator, gives the same tokens whatever the batch holds.

    Args:
        logits, seen: as in `penalise`.
        uniforms: (B,) float32 in [0, 1).

    Returns:
        Tokens (B,) int64, and whether the sequence is over (B,) bool: the end token was drawn or is the likeliest.
    """
    penalised = penalise(logits, seen, rows)
    probabilities, tokens = filtered_probabilities(penalised, rows)
    cumulative = probabilities.cumsum(1)
    place = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    # A number within rounding of 1 must not run past the last token with any probability; a row that is not finite has
    # none, and must not index out of bounds: on CUDA that would take the process down.
    last = ((probabilities > 0).sum(1, keepdim=True) - 1).clamp(min=0)
    drawn = tokens.gather(1, torch.minimum(place, last))[:, 0]
    end = logits.shape[1] - 1
    return drawn, (drawn == end) | (tokens[:, 0] == end)
