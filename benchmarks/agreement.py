"""`python -m benchmarks.agreement GPT_FILE [--bert FOLDER]`: how often int8 and float32 find one token the likeliest.

With a BERT, int8 hears int8's features of Chinese text, and float32 those of float32. Both hear the same tokens,
drawn from float32's distribution as a request without parameters draws them.
Prints JSON; ends with 1 below 99 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from sovits_service.engine.sampler import SamplingRows, sample
from sovits_service.models.checkpoint_encoders import load_bert
from sovits_service.models.checkpoint_models import load_gpt
from sovits_service.models.onnx.bert import OnnxBert, write_graph
from sovits_service.models.onnx.loading import ModelLoader
from sovits_service.models.onnx.store import GraphStore
from sovits_service.models.semantic_model import SemanticModel, SemanticSlots
from sovits_service.types import SamplingParams

SEQUENCES, STEPS = 8, 250
TEXT_PHONEMES, PROMPT_TOKENS = 60, 100
REQUIRED = 0.99


def _prefill(slots: SemanticSlots, model: SemanticModel, features: list[torch.Tensor]) -> torch.Tensor:
    """Sequences of random phonemes and prompts; (SEQUENCES, vocab) logits."""
    draw = torch.Generator().manual_seed(0)
    logits = []
    for slot in range(SEQUENCES):
        ids = torch.randint(0, model.config.phoneme_vocab, (TEXT_PHONEMES,), generator=draw)
        prompt = torch.randint(0, model.config.end_token, (PROMPT_TOKENS,), generator=draw)
        logits.append(slots.prefill(ids, features[slot], prompt, slot).clone())
    return torch.stack(logits)


@torch.inference_mode()
def measure_agreement(path: Path, bert: Path | None = None, steps: int = STEPS) -> dict[str, float]:
    """Share of equal likeliest tokens, and the mean divergence of the distributions in nats."""
    with tempfile.TemporaryDirectory() as folder:
        store = GraphStore(Path(folder), 2**40)
        loader = ModelLoader(
            "onnx", "int8", torch.device("cpu"), torch.float32, store, torch.get_num_threads(), SEQUENCES
        )
        reference, quantised = load_gpt(path), loader.load_gpt(path)
    capacity = TEXT_PHONEMES + PROMPT_TOKENS + steps + 1
    models: list[SemanticModel] = [reference, quantised]
    slots = [model.open_slots(SEQUENCES, capacity) for model in models]
    features = _features(bert)
    logits = [_prefill(*each) for each in zip(slots, models, features, strict=True)]
    rows = _sampling_rows()
    seen = torch.zeros(SEQUENCES, reference.config.semantic_vocab, dtype=torch.bool)
    draw = torch.Generator().manual_seed(1)
    equal, divergence = 0, 0.0
    for step in range(steps):
        equal += int((logits[0].argmax(1) == logits[1].argmax(1)).sum())
        expected, actual = (each.log_softmax(1) for each in logits)
        divergence += float((expected.exp() * (expected - actual)).sum(1).mean())
        tokens, _ = sample(logits[0], seen, rows, torch.rand(SEQUENCES, generator=draw))
        seen[torch.arange(SEQUENCES), tokens] = True
        positions = torch.full((SEQUENCES,), PROMPT_TOKENS + step)
        entries = positions + TEXT_PHONEMES
        logits = [each.decode_step(tokens, positions, entries, int(entries[0]) + 1).clone() for each in slots]
    return {"steps": SEQUENCES * steps, "agreement": equal / (SEQUENCES * steps), "divergence": divergence / steps}


def _features(folder: Path | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """For each sequence (TEXT_PHONEMES, 1024): float32's and int8's of random text, or the same noise for both."""
    if folder is None:
        draw = torch.Generator().manual_seed(2)
        noise = [torch.randn(TEXT_PHONEMES, 1024, generator=draw) * 0.5 for _ in range(SEQUENCES)]
        return noise, noise
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(0x4E00, 0x9FA6, (SEQUENCES, TEXT_PHONEMES // 2), generator=draw)
    texts = ["".join(map(chr, row)) for row in ids.tolist()]
    reference = load_bert(folder)
    with tempfile.TemporaryDirectory() as graph:
        write_graph(reference, "int8", Path(graph))
        quantised = OnnxBert(Path(graph), reference.reader.tokenizer, torch.get_num_threads())
    exact, rounded = ([row.repeat_interleave(2, 0) for row in model(texts)] for model in (reference, quantised))
    return exact, rounded


def _sampling_rows() -> SamplingRows:
    """The defaults of a request; no sequence ends."""
    defaults = SamplingParams()

    def column(value: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.full((SEQUENCES,), value, dtype=dtype)

    return SamplingRows(
        top_k=column(defaults.top_k, torch.int64),
        top_p=column(defaults.top_p, torch.float32),
        temperature=column(defaults.temperature, torch.float32),
        repetition_penalty=column(defaults.repetition_penalty, torch.float32),
        may_end=column(False, torch.bool),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gpt", type=Path, help="a GPT checkpoint")
    parser.add_argument("--bert", type=Path, help="a BERT folder")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each of {SEQUENCES} sequences")
    args = parser.parse_args()
    figures = measure_agreement(args.gpt, args.bert, args.steps)
    print(json.dumps(figures, indent=1))
    return 0 if figures["agreement"] >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
