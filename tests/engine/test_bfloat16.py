"""`precision: bfloat16`: what stays in float32, how near it is, and that company makes no difference on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sovits_service.engine.device_queue import CudaQueue, HostQueue
from sovits_service.engine.semantic_runner import SemanticRunner
from sovits_service.engine.sequence import Job
from sovits_service.models.checkpoint_models import build_gpt
from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.service.build import build_service
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from tests.engine.conftest import CPU, options, segment, voice
from tests.engine.recorded_cuda import RecordedCuda
from tests.engine.test_model_store import REQUEST, settings, speak  # noqa: F401 - `settings` is a fixture
from tests.tiny_pack import write_pack

CONFIG = GptConfig(width=64, heads=4, layers=6, feed_forward=256, phoneme_vocab=80, semantic_vocab=1025)


def new_gpt(dtype: torch.dtype) -> Any:
    """Weights in the scale of trained ones: what a layer adds is small beside its input."""
    torch.manual_seed(7)
    state = TextToSemantic(CONFIG).state_dict()
    for name, value in state.items():
        if name.startswith("ar_predict_layer"):
            state[name] = 4 * value
    return build_gpt(CONFIG, {key: value.clone() for key, value in state.items()}, dtype=dtype)


@pytest.fixture(scope="module")
def bfloat16() -> Any:
    return new_gpt(torch.bfloat16)


def logits(gpt: TextToSemantic) -> Any:
    """(12, vocab) of a prefill and of steps that follow it, with the tokens given."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, CONFIG.phoneme_vocab, (30,), generator=generator)
    prompt = torch.randint(0, 1024, (40,), generator=generator)
    bert = torch.randn(30, 1024, generator=generator)
    slots = gpt.open_slots(1, 128)
    with torch.inference_mode():
        rows = [slots.prefill(ids, bert.to(slots.dtype), prompt, 0)]
        for step in range(11):
            place = torch.tensor([40 + step]), torch.tensor([70 + step])
            rows.append(slots.decode_step(torch.tensor([17 * step]), *place, 128)[0].clone())
    return torch.stack(rows)


def test_products_are_in_bfloat16_and_sums_norms_and_logits_in_float32(bfloat16: Any) -> None:
    assert bfloat16.precision == "bfloat16"
    assert bfloat16.open_slots(2, 64).cache.keys.dtype == torch.bfloat16
    dtypes = {name: parameter.dtype for name, parameter in bfloat16.named_parameters()}
    in_float32 = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert all("norm" in name or name.endswith("alpha") or name == "ar_predict_layer.weight" for name in in_float32)
    assert dtypes["h.layers.0.self_attn.in_proj_weight"] == torch.bfloat16
    assert dtypes["h.layers.0.norm1.weight"] == torch.float32
    seen: dict[str, set[torch.dtype]] = {}

    def note(module: Any, args: Any, out: Any) -> None:
        seen.setdefault(type(module).__name__, set()).add(out.dtype)

    handles = [module.register_forward_hook(note) for module in bfloat16.h.modules() if not list(module.children())]
    assert logits(bfloat16).dtype == torch.float32
    for handle in handles:
        handle.remove()
    assert seen["LayerNorm"] == {torch.float32}
    assert seen["Linear"] == {torch.bfloat16}


def test_logits_stay_near_float32_nearer_than_in_bfloat16_throughout(bfloat16: Any) -> None:
    exact = logits(new_gpt(torch.float32))

    def error(gpt: TextToSemantic) -> Any:
        return float((logits(gpt).float() - exact).square().mean().sqrt() / exact.square().mean().sqrt())

    mixed, throughout = error(bfloat16), error(new_gpt(torch.bfloat16).to(torch.bfloat16))
    assert mixed < 0.015
    assert mixed < 0.8 * throughout
    agreement = (logits(bfloat16).argmax(1) == exact.argmax(1)).float().mean()
    assert agreement > 0.9


def test_a_seed_gives_the_same_tokens_alone_and_in_company(bfloat16: Any) -> None:
    def spoken(queue: Any, seeds: Any, **kwargs: Any) -> Any:
        runner = SemanticRunner(bfloat16, 4, 256, queue=queue, **kwargs)
        running = []
        for slot, seed in enumerate(seeds):
            job = Job([segment(seed)], segment(100), [voice(1)], options(seed), 8, None)
            running.append(job.start_next())
            running[-1].slot = slot
        admitted = [runner.admit(sequence, torch.zeros(24, 1024), torch.arange(20)) for sequence in running]
        for batch in runner.batches(admitted):
            runner.prefill(batch)
        tokens = {sequence.job.options.seed: sequence.tokens for sequence in running}
        while running:
            runner.step(running, 4)
            running = [sequence for sequence in running if not sequence.is_finished]
        return tokens

    alone = {seed: spoken(HostQueue(CPU), [seed])[seed] for seed in (1, 2, 3)}
    assert len({tuple(tokens) for tokens in alone.values()}) == 3
    assert spoken(HostQueue(CPU), [3, 1, 2]) == alone
    on_cuda = {seed: spoken(CudaQueue(CPU, RecordedCuda()), [seed])[seed] for seed in (1, 2, 3)}
    assert spoken(CudaQueue(CPU, RecordedCuda()), [3, 1, 2]) == on_cuda


async def test_a_service_on_a_cpu_speaks_in_it_and_names_it(tmp_path: Path, settings: ServiceSettings) -> None:  # noqa: F811
    tts = load_tts_settings(write_pack(tmp_path / "pack"))
    service = build_service(tts, settings.model_copy(update={"precision": "bfloat16"}))
    await service.start()
    try:
        assert service.computation == {"backend": "torch", "precision": "bfloat16"}
        samples = await speak(service)
        assert samples.size
        assert (samples == await speak(service)).all()
        assert any("bfloat16" in part for part in (await service.fingerprint(REQUEST)).model_hashes)
    finally:
        await service.stop(0.0)
