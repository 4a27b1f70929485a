"""Sequences that are admitted together are prefilled in one pass on CUDA: what each says is what it says alone."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.engine.device_queue import CudaQueue, HostQueue
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.engine.text_features import TextFeatures
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.errors import InvalidRequestError
from sovits_service.models.checkpoint_models import build_gpt
from sovits_service.models.gpt import GptConfig, Prefix, PrefixBatch, TextToSemantic
from sovits_service.models.hubert import Hubert
from sovits_service.models.sovits.vits import Vits
from tests.engine import recorded_cuda
from tests.engine.conftest import CPU, WatchedEngine, collect, joined, options, segment, voice
from tests.engine.recorded_cuda import Launches, RecordedCuda
from tests.engine.test_engine import speak
from tests.tiny_sizes import VITS

CAPACITY = 400
LENGTHS = (12, 30, 21, 9, 90)  # phonemes of each text: three with the same padding, one of another, one far longer


def on_cuda(gpt: TextToSemantic, slots: int = 6, **kwargs: Any) -> Any:
    return SemanticRunner(gpt, slots, CAPACITY, queue=CudaQueue(CPU, RecordedCuda()), **kwargs)


def new_sequence(index: int, slot: int, *, max_new_tokens: Any = 40) -> Any:
    text = segment(index, LENGTHS[index])
    sequence = Job([text], segment(9), [voice(1)], options(index, max_new_tokens=max_new_tokens), 8, None).start_next()
    sequence.slot = slot
    return sequence


def admit(runner: Any, sequence: Any, *, value: Any = None) -> Any:
    """With features of its own; `value` in their place."""
    length = len(sequence.segment.phoneme_ids) + len(sequence.job.prompt_segment.phoneme_ids)
    generator = torch.Generator().manual_seed(sequence.job.options.seed)
    bert = torch.randn(length, 1024, generator=generator) if value is None else torch.full((length, 1024), value)
    return runner.admit(sequence, bert, torch.arange(10 + 3 * sequence.job.options.seed) % 60)


def spoken(runner: Any, sequences: Any) -> Any:
    batches = runner.batches([admit(runner, sequence) for sequence in sequences])
    for batch in batches:
        runner.prefill(batch)
    running = list(sequences)
    while running:
        runner.step(running, 1 + max(sequence.slot for sequence in running))
        running = [sequence for sequence in running if not sequence.is_finished]
    return [len(batch) for batch in batches]


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_each_says_what_it_says_alone(gpt: TextToSemantic, is_deterministic: Any) -> None:
    together = [new_sequence(index, 5 - index) for index in range(5)]
    runner = on_cuda(gpt, is_deterministic=is_deterministic)
    sizes = spoken(runner, together)
    assert max(sizes) > 1, "nothing was batched"
    for index, sequence in enumerate(together):
        alone = new_sequence(index, 0)
        spoken(on_cuda(gpt, is_deterministic=is_deterministic), [alone])
        plain = new_sequence(index, 0)
        spoken(SemanticRunner(gpt, 1, CAPACITY, queue=HostQueue(CPU)), [plain])
        assert sequence.tokens == alone.tokens == plain.tokens


def test_a_pass_of_fixed_shape_leaves_the_same_bits_whatever_is_in_it(gpt: TextToSemantic) -> None:
    """What `deterministic` promises; of a padded pass of any other shape it does not hold, on a CPU as on a GPU."""
    runner, alone = on_cuda(gpt), on_cuda(gpt)
    together = [new_sequence(index, 5 - index) for index in range(3)]
    (batch, *others) = runner.batches([admit(runner, sequence) for sequence in together])
    assert len(batch) == 3
    assert not others
    runner.prefill(batch)
    for index, sequence in enumerate(together):
        single = new_sequence(index, 0)
        alone.prefill([admit(alone, single)])
        length = single.prefix_length
        for cached in ("keys", "values"):
            expected = getattr(alone.slots.cache, cached)[:, 0, :, :length]
            assert torch.equal(getattr(runner.slots.cache, cached)[:, sequence.slot, :, :length], expected)


def test_logits_of_a_padded_pass_are_those_of_one_by_one(gpt: TextToSemantic) -> None:
    slots = gpt.open_slots(4, CAPACITY)
    generator = torch.Generator().manual_seed(0)
    prefixes = [
        Prefix(
            torch.randint(0, gpt.config.phoneme_vocab, (n_text,), generator=generator),
            torch.randn(n_text, 1024, generator=generator),
            torch.randint(0, 60, (n_prompt,), generator=generator),
        )
        for n_text, n_prompt in ((5, 7), (40, 30), (3, 0))
    ]
    batch = PrefixBatch.empty(4, 96, CPU, torch.float32)
    batch.bert.fill_(torch.nan)  # what is in the padding, or was of another batch
    for row, prefix in enumerate(prefixes):
        batch.fill(row, prefix)
    batch.bert[3] = 0.0
    batch.numbers.copy_(torch.tensor([[5, 40, 3, 0], [12, 70, 3, 1], [2, 0, 3, 2], [0, 1, 2, 0]]))
    with torch.inference_mode():
        together = slots.prefill_batch(batch)
        alone = torch.stack([slots.prefill(*prefix, 1) for prefix in prefixes])
    assert together.shape == (4, gpt.config.semantic_vocab)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[:3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("is_deterministic", [True, False])
def test_a_batch_is_one_replay_and_nobody_waits_for_the_device(
    gpt: Any, monkeypatch: Any, count: Any, is_deterministic: Any
) -> None:
    runner = on_cuda(gpt, is_deterministic=is_deterministic)
    (batch,) = runner.batches([admit(runner, new_sequence(index, index)) for index in range(count)])
    runner.queue._api.log.clear()
    runner.prefill(batch)
    assert runner.queue._api.log == ["replay", "copied"], "one copy to the host, which is not waited for"
    monkeypatch.setattr(recorded_cuda.Graph, "replay", lambda graph: None)
    with Launches() as launched:
        runner.prefill(batch)
    assert "aten::_local_scalar_dense" not in launched.names
    # Lengths and slots; phonemes, features and tokens of each; what was drawn.
    assert launched.names.count("aten::copy_") == 1 + 3 * count + 1


@pytest.mark.parametrize("use_graphs", [True, False])
def test_a_prefix_longer_than_what_is_captured_is_prefilled_all_the_same(gpt: Any, use_graphs: Any) -> None:
    def tokens(runner: Any) -> Any:
        text = segment(1, 900)
        job = Job([text], None, [voice(1)], options(1, max_new_tokens=40), 8, None)
        sequence = job.start_next()
        sequence.slot = 0
        runner.prefill([runner.admit(sequence, torch.zeros(900, 1024), torch.arange(0))])
        while not sequence.is_finished:
            runner.step([sequence], 1)
        return sequence.tokens

    plain = tokens(SemanticRunner(gpt, 1, 1100, queue=HostQueue(CPU)))
    cuda = RecordedCuda()
    runner = SemanticRunner(gpt, 1, 1100, queue=CudaQueue(CPU, cuda), use_graphs=use_graphs)
    assert tokens(runner) == plain
    assert ("replay" in cuda.log) == use_graphs, "its steps are captured, its prefill is not"


def test_nothing_of_one_batch_reaches_the_next(gpt: Any) -> None:
    """The tensors that passes read are the same each time; a shorter prefix leaves some of the longer one there."""
    runner = on_cuda(gpt)
    longest, bad = new_sequence(4, 0), new_sequence(4, 1)
    runner.prefill([admit(runner, longest), admit(runner, bad, value=torch.nan)])
    runner.step([longest, bad], 2)
    for slot in (0, 1):
        runner.clear(slot)
    longest.slot = bad.slot = None
    short, alone = new_sequence(0, 1), new_sequence(0, 1)
    spoken(runner, [short])
    spoken(on_cuda(gpt), [alone])
    assert short.tokens == alone.tokens


def test_a_prefix_that_is_not_finite_breaks_nothing_else(gpt: TextToSemantic) -> None:
    runner = on_cuda(gpt)
    good, bad = new_sequence(0, 0), new_sequence(2, 1)
    (batch,) = runner.batches([admit(runner, good), admit(runner, bad, value=torch.nan)])
    runner.prefill(batch)
    broken = runner.step([good, bad], 2).broken
    assert broken == [bad]
    runner.clear(1)
    bad.slot = None
    while not good.is_finished:
        assert not runner.step([good], 1).broken
    alone = new_sequence(0, 3)
    spoken(on_cuda(gpt), [alone])
    assert good.tokens == alone.tokens


def test_those_who_run_already_are_not_disturbed(gpt: TextToSemantic) -> None:
    """The draw of a batch spans the slots of others too."""
    alone = new_sequence(0, 0)
    spoken(on_cuda(gpt), [alone])
    runner = on_cuda(gpt)
    first = new_sequence(0, 0)
    runner.prefill([admit(runner, first)])
    for _ in range(15):
        runner.step([first], 1)
    joining = [new_sequence(1, 1), new_sequence(2, 2)]
    for batch in runner.batches([admit(runner, sequence) for sequence in joining]):
        runner.prefill(batch)
    while running := [sequence for sequence in (first, *joining) if not sequence.is_finished]:
        runner.step(running, 3)
    assert first.tokens == alone.tokens


def test_on_a_cpu_each_is_prefilled_by_itself(gpt: TextToSemantic) -> None:
    """A row of a padded pass differs in its last bits from the row alone there."""
    runner = SemanticRunner(gpt, 6, CAPACITY, queue=HostQueue(CPU), is_deterministic=False)
    assert runner.prefill_rows == 1
    batches = runner.batches([admit(runner, new_sequence(index, index)) for index in range(5)])
    assert [len(batch) for batch in batches] == [1] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_a_sequence_leaves_the_same_bits_alone_and_in_company(dtype: torch.dtype) -> None:
    config = GptConfig(width=512, heads=8, layers=2, feed_forward=2048, phoneme_vocab=732, semantic_vocab=1025)
    torch.manual_seed(1)
    model = build_gpt(config, TextToSemantic(config).state_dict(), dtype=dtype)

    def cached(sequences: Any) -> Any:
        runner = SemanticRunner(model, 4, CAPACITY)
        spoken(runner, sequences)
        first = sequences[0]
        slots: Any = runner.slots
        kept = first.prefix_length + len(first.tokens)
        return first.tokens, slots.cache.keys[:, first.slot, :, :kept].clone()

    tokens, keys = cached([new_sequence(0, 0)])
    for slots in ((3, 0), (1, 0, 2, 3)):
        in_company = cached([new_sequence(index, slot) for index, slot in enumerate(slots)])
        assert in_company[0] == tokens
        assert torch.equal(in_company[1][:, :, :-1], keys[:, :, :-1])


async def test_requests_are_batched_and_one_too_long_fails_alone(
    engine: WatchedEngine, gpt: TextToSemantic, vits: Vits, hubert: Hubert, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ModelWorker(
        SemanticRunner(gpt, 6, 200, queue=CudaQueue(CPU, RecordedCuda())),
        TextFeatures(None, CPU, torch.float32),
        PromptEncoder(vits, hubert, None),
        VitsWaveDecoder(vits, VITS.sampling_rate, window_frames=40),
        engine.counters,
    )

    def said(seed: int, length: int = 12) -> Any:
        texts = [segment(seed, length), segment(seed + 50, length)]
        return collect(speak(engine, worker, texts, voice(1), options(seed), prompt=segment(3)))

    alone = [joined(await said(seed)) for seed in range(3)]
    sizes, prefill = [], SemanticRunner.prefill
    monkeypatch.setattr(SemanticRunner, "prefill", lambda self, batch: sizes.append(len(batch)) or prefill(self, batch))
    # Nothing is prefilled until all of them wait for it.
    admit_some = worker._scheduler.admit
    monkeypatch.setattr(
        worker._scheduler,
        "admit",
        lambda limit: admit_some(limit) if sum(s.is_prepared for s in worker._scheduler._begun) >= 4 or sizes else [],
    )
    *together, failed = await asyncio.gather(*(said(seed) for seed in range(3)), said(7, 190), return_exceptions=True)
    assert isinstance(failed, InvalidRequestError)
    assert max(sizes) > 1
    for expected, chunks in zip(alone, together, strict=True):
        assert np.array_equal(joined(chunks), expected)
