"""Draws follow each row's own parameters, number and history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.sampler import SamplingRows, filtered_probabilities, penalise, sample

VOCAB = 12
END = VOCAB - 1


def rows(
    count: int = 1,
    *,
    top_k: int = VOCAB,
    top_p: float = 1.0,
    temperature: float = 1.0,
    penalty: float = 1.0,
    may_end: bool = True,
) -> SamplingRows:
    return SamplingRows(
        top_k=torch.full((count,), top_k),
        top_p=torch.full((count,), top_p),
        temperature=torch.full((count,), temperature),
        repetition_penalty=torch.full((count,), penalty),
        may_end=torch.full((count,), may_end),
    )


def nothing_seen(count: int = 1) -> torch.Tensor:
    return torch.zeros(count, VOCAB, dtype=torch.bool)


def draw_many(logits: torch.Tensor, params: SamplingRows, draws: int = 4000) -> np.ndarray:
    """The share of each token in evenly spread draws."""
    uniforms = (torch.arange(draws) + 0.5) / draws
    spread = SamplingRows(  # type: ignore[call-arg]
        *(getattr(params, name).expand(draws) for name in ("top_k", "top_p", "temperature")),
        params.repetition_penalty.expand(draws),
        params.may_end.expand(draws),
    )
    tokens, _ = sample(logits.expand(draws, -1), nothing_seen().expand(draws, -1), spread, uniforms)
    return np.bincount(tokens.numpy(), minlength=VOCAB) / draws


def test_draws_have_the_distribution_of_the_softmax() -> None:
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(1))
    shares = draw_many(logits, rows())
    np.testing.assert_allclose(shares, logits.softmax(1)[0].numpy(), atol=1e-3)


def test_top_k_keeps_the_k_likeliest_and_their_ties() -> None:
    logits = torch.tensor([[3.0, 2.0, 2.0, 1.0] + [0.0] * 8])
    assert (draw_many(logits, rows(top_k=2)) > 0).tolist() == [True, True, True] + [False] * 9


def test_top_p_drops_the_token_that_crosses_it_but_never_the_first() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.25, 0.1, 0.05] + [1e-9] * 8]))
    assert (draw_many(logits, rows(top_p=0.86)) > 0).tolist() == [True, True] + [False] * 10
    assert (draw_many(logits, rows(top_p=0.01)) > 0).tolist() == [True] + [False] * 11


def test_a_temperature_of_zero_is_greedy() -> None:
    logits = torch.tensor([[0.5, 0.6] + [0.0] * 10])
    assert draw_many(logits, rows(temperature=0.0))[1] == 1.0


def test_seen_tokens_are_penalised_whatever_the_sign_of_their_logit() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0] + [0.0] * 9])
    seen = nothing_seen()
    seen[0, :2] = True
    penalised = penalise(logits, seen, rows(penalty=2.0))
    assert penalised[0, :3].tolist() == [1.0, -4.0, 2.0]


def test_the_end_token_is_barred_where_it_is_too_early() -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, END] = 50.0
    early, is_over = sample(logits, nothing_seen(), rows(may_end=False), torch.tensor([0.999]))
    assert early.item() != END
    assert not is_over.item()
    late, is_over = sample(logits, nothing_seen(), rows(), torch.tensor([0.5]))
    assert late.item() == END
    assert is_over.item()


def test_the_likeliest_token_ends_a_sequence_whichever_is_drawn() -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, END] = 1.0
    token, is_over = sample(logits, nothing_seen(), rows(), torch.tensor([0.99]))
    assert token.item() != END
    assert is_over.item()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_no_draw_falls_on_a_filtered_token(uniform: Any) -> None:
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(3))
    allowed = logits[0].topk(3).indices.tolist()
    token, _ = sample(logits, nothing_seen(), rows(top_k=3), torch.tensor([uniform]))
    assert token.item() in allowed


def test_each_row_keeps_its_own_parameters() -> None:
    logits = torch.tensor([[2.0, 1.9] + [0.0] * 10] * 2)
    mixed = SamplingRows(
        top_k=torch.tensor([1, VOCAB]),
        top_p=torch.tensor([1.0, 1.0]),
        temperature=torch.tensor([1.0, 5.0]),
        repetition_penalty=torch.tensor([1.0, 1.0]),
        may_end=torch.tensor([True, True]),
    )
    tokens, _ = sample(logits, nothing_seen(2), mixed, torch.tensor([0.97, 0.97]))
    assert tokens[0].item() == 0
    assert tokens[1].item() > 1
    alone, _ = sample(logits[1:], nothing_seen(), mixed[1:2], torch.tensor([0.97]))
    assert alone.item() == tokens[1].item()


def test_probabilities_are_ordered_and_sum_to_one() -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(5))
    probabilities, tokens = filtered_probabilities(logits, rows(3, top_k=5, top_p=0.9, temperature=0.7))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
    assert (probabilities.diff(dim=1) <= 0).all()
    assert all(sorted(row.tolist()) == list(range(VOCAB)) for row in tokens)
