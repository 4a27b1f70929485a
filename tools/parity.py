"""Compares the models with stored outputs: `python tools/parity.py FOLDER [NAME ...]`; exits 1 beyond a bound.

A golden is `NAME.json`, which lists the weights by name, and `NAME.safetensors`, which holds inputs and outputs. The
weights are a pure function of their names and a salt, so they need no file. The stem of the name picks the check.

A network that amplifies rounding gives another float32 output on every processor, so one float32 run says little about
another. The golden of such a network states a `tolerance`, and is compared by way of float64, whose own rounding is far
below it: a float64 run with the stored output, then the float32 run with that float64 run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from sovits_service.audio import dsp
from sovits_service.engine.sampler import SamplingRows, filtered_probabilities, penalise
from sovits_service.models.checkpoint import Checkpoint
from sovits_service.models.checkpoint_models import build_bigvgan, build_sovits, build_v4_vocoder, build_vits, fill
from sovits_service.models.gpt import GptConfig, TextToSemantic
from sovits_service.models.semantic_model import SemanticModel
from sovits_service.models.sovits.bigvgan import BigVganConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.types import ModelVersion

BOUND = 1e-4  # of full scale, float32 against the stored output
ROUNDING_BOUND = 5e-4  # float32 against float64, where a golden states a tolerance and no `rounding_tolerance`
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4}


@dataclass(frozen=True, slots=True)
class Golden:
    """A stored case: `manifest` says which weights and settings, `tensors` are inputs and outputs.

    Attributes:
        dtype, device: of the computation; `on` changes them.
        weights: in float32, where they have been made; see `with_weights`.
    """

    name: str
    manifest: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"
    weights: Mapping[str, Tensor] | None = None

    def on(self, device: torch.device | str, dtype: torch.dtype) -> Golden:
        """The same case, computed elsewhere and in other numbers."""
        tensors = {key: t.to(device, dtype if t.is_floating_point() else t.dtype) for key, t in self.tensors.items()}
        return replace(self, tensors=tensors, dtype=dtype, device=device)

    def with_weights(self, like: Golden | None = None) -> Golden:
        """The same case with its weights, made once for many runs, or those of another case that are equal to them."""
        if like is not None and all(like.manifest.get(key) == self.manifest.get(key) for key in ("salt", "state_dict")):
            return replace(self, weights=like.weights)
        return replace(self, weights=self.state())

    def state(self) -> dict[str, Tensor]:
        """The weights, made from their names, in float32."""
        if self.weights is not None:
            return dict(self.weights)
        salt = str(self.manifest["salt"])
        shapes = self.manifest.get("state_dict", {})
        return {key: seeded_tensor(key, shape, dtype, salt) for key, (shape, dtype) in shapes.items()}


@dataclass(frozen=True, slots=True)
class Output:
    """What a check computed and what is stored for it; integers must be equal."""

    name: str
    actual: Tensor
    stored: Tensor


@dataclass(frozen=True, slots=True)
class Result:
    """How far an output is from the stored one, as a part of full scale; infinite where it must be equal and is not."""

    output: str
    error: float
    bound: float = BOUND

    @property
    def is_within_bound(self) -> bool:
        return self.error <= self.bound  # false for NaN too


Check = Callable[[Golden], Iterable[Output]]


def seeded_tensor(name: str, shape: Iterable[int], dtype: str, salt: str) -> Tensor:
    """Makes a weight out of its name: normal numbers from a generator seeded by the name's CRC-32, in a fit scale.

    Args:
        name: the key in the state dict; its last part decides the scale.
        shape: of the tensor.
        dtype: `float32`, or `int64` and `bool` which are zeros.
        salt: sets one family of weights apart from another.
    """
    size = tuple(shape)
    if dtype in ("int64", "bool"):
        return torch.zeros(size, dtype=getattr(torch, dtype))
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{salt}/{name}".encode())))
    normal = np.asarray(generator.standard_normal(size or None, dtype=np.float32), dtype=np.float32)
    leaf = name.rsplit(".", 1)[-1]
    values: npt.NDArray[Any]
    if leaf in ("inited", "cluster_size"):
        values = np.ones_like(normal)
    elif leaf in ("embed", "embed_avg"):
        values = normal * 0.5
    elif leaf == "running_var":
        values = 1.0 + 0.2 * np.abs(normal)
    elif leaf == "running_mean":
        values = 0.1 * normal
    elif leaf in ("weight_g", "original0"):
        values = 1.0 + 0.05 * normal
    elif len(size) >= 2:
        # Divided in float32, as NumPy 1 did; the last bit of a weight is 1e-4 of the v3 vocoder's wave.
        values = np.divide(normal, np.float32(np.sqrt(np.prod(size[1:]))), out=normal)
    elif leaf in ("weight", "gamma"):
        values = 1.0 + 0.05 * normal
    else:
        values = 0.05 * normal
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def compare(output: str, actual: Tensor, stored: Tensor, bound: float = BOUND) -> Result:
    """The largest difference as a part of the largest stored value; for integers 0 where all are equal."""
    if actual.shape != stored.shape:
        return Result(f"{output} (shape {tuple(actual.shape)}, stored {tuple(stored.shape)})", float("inf"), bound)
    actual, stored = actual.cpu(), stored.cpu()
    if not stored.is_floating_point():
        return Result(output, 0.0 if torch.equal(actual, stored) else float("inf"), bound)
    return Result(output, float((actual - stored).abs().max() / stored.abs().max()), bound)


def check_t2s(golden: Golden) -> Iterator[Output]:
    """The GPT in both back ends."""
    state = golden.state()
    with torch.device("meta"):
        model = TextToSemantic(GptConfig.from_checkpoint(golden.manifest["config"], state))
    fill(model, state, "GPT", golden.device, golden.dtype)
    yield from _decode(golden, model, "")
    if golden.dtype == torch.float32 and golden.device == "cpu":
        from sovits_service.models.onnx.gpt import OnnxGpt, write_graphs  # no part of a check on a GPU

        with tempfile.TemporaryDirectory() as folder:
            write_graphs(model, "float32", Path(folder))
            onnx = OnnxGpt(Path(folder), "float32", torch.get_num_threads())
        yield from _decode(golden, onnx, "onnx_")


def _decode(golden: Golden, model: SemanticModel, prefix: str) -> Iterator[Output]:
    """Greedy decoding with the end token masked: equal tokens, close logits at stored steps."""
    for case in _cases(golden, "x"):
        text, prompt = golden.tensors[f"x{case}"][0], golden.tensors[f"prompt{case}"][0]
        stored_tokens, stored_logits = golden.tensors[f"greedy{case}"][0], golden.tensors[f"logits{case}"][0]
        n_steps, n_entries = len(stored_tokens), len(text) + len(prompt)
        slots = model.open_slots(1, n_entries + n_steps)
        every = [slots.prefill(text, golden.tensors[f"bert{case}"][0].t(), prompt, 0)]
        tokens: list[int] = []
        for step in range(n_steps):
            tokens.append(int(every[-1][: model.config.end_token].argmax()))
            position = torch.tensor([len(prompt) + step], device=golden.device)
            last = torch.tensor(tokens[-1:], device=golden.device)
            decoded = slots.decode_step(last, position, position + len(text), n_entries + step + 1)
            every.append(decoded[0].clone())
        stride = n_steps // (len(stored_logits) - 1)
        yield Output(f"{prefix}logits{case}", torch.stack(every[::stride]), stored_logits)
        yield Output(f"{prefix}greedy{case}", torch.tensor(tokens), stored_tokens)


def check_sampling(golden: Golden) -> Iterator[Output]:
    """The distribution that the next token is drawn from."""
    for case, (top_k, top_p, temperature, repetition_penalty) in enumerate(golden.manifest["cases"]):
        logits, previous = golden.tensors[f"logits{case}"], golden.tensors[f"prev{case}"]
        n_rows = logits.shape[0]
        rows = SamplingRows(
            torch.full((n_rows,), int(top_k)),
            torch.full((n_rows,), float(top_p)),
            torch.full((n_rows,), float(temperature)),
            torch.full((n_rows,), float(repetition_penalty)),
            torch.ones(n_rows, dtype=torch.bool),
        )
        seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, previous, True)
        ordered, tokens = filtered_probabilities(penalise(logits, seen, rows), rows)
        yield Output(
            f"probs{case}", torch.zeros_like(ordered).scatter(1, tokens, ordered), golden.tensors[f"probs{case}"]
        )


def check_audio(golden: Golden) -> Iterator[Output]:
    """Spectra and filter banks of given samples."""
    tensors = golden.tensors
    if "spec" in tensors:
        yield Output("spec", dsp.linear_spectrogram(tensors["wav32k"][None], 2048, 640), tensors["spec"])
    if "mel_v3" in tensors:
        yield Output("mel_v3", dsp.mel_spectrogram(tensors["wav24k"][None], 24_000, 1024, 256, 100), tensors["mel_v3"])
    if "mel_v4" in tensors:
        yield Output("mel_v4", dsp.mel_spectrogram(tensors["wav32k"][None], 32_000, 1280, 320, 100), tensors["mel_v4"])
    if "fbank16k" in tensors:
        yield Output("fbank16k", dsp.fbank(tensors["wav16k"][None])[0], tensors["fbank16k"])


def check_speaker(golden: Golden) -> Iterator[Output]:
    """The speaker embedding of 16 kHz samples."""
    with torch.device("meta"):
        model = ERes2NetV2()
    fill(model, golden.state(), "speaker verification", golden.device, golden.dtype, unused=("seg_1.",))
    samples = golden.tensors["wav16k"].reshape(1, -1)
    yield Output("embedding", model(dsp.fbank(samples)), golden.tensors["embedding"])


def check_vits(golden: Golden) -> Iterator[Output]:
    """Waveforms without noise, and the semantic tokens of HuBERT features."""
    version = cast(ModelVersion, golden.manifest["version"])
    tensors = golden.tensors
    model = build_vits(
        Checkpoint(golden.state(), golden.manifest["config"], version), device=golden.device, dtype=golden.dtype
    )
    codes = model.extract_codes(tensors["ssl"])
    yield Output("codes_of_ssl", codes, tensors["codes_of_ssl"][0])
    for name in sorted(name for name in tensors if name.startswith("wav_")):
        n_refs, speed = _references_and_speed(name)
        specs = [tensors[f"refer{i}"] for i in range(n_refs)]
        speakers = [tensors[f"sv{i}"] for i in range(n_refs)] if "sv0" in tensors else None
        style = model.style_embedding(specs, speakers)
        prior = model.encode(tensors["codes"][0], tensors["text"], style, speed=speed)
        latents = model.latents(prior, style, torch.zeros_like(prior.mean), 0.0)
        yield Output(name, model.vocode(latents, style), tensors[name])


def check_cfm(golden: Golden) -> Iterator[Output]:
    """Style, encoder features, and mels drawn from a stored noise."""
    version = cast(ModelVersion, golden.manifest.get("version", "v3"))
    tensors = golden.tensors
    model = build_sovits(
        Checkpoint(golden.state(), golden.manifest["config"], version), device=golden.device, dtype=golden.dtype
    )
    assert isinstance(model, CfmSynthesizer)
    style = model.style_embedding([tensors["refer0"]])
    yield Output("ge", style, tensors["ge"])
    for name in sorted(tensors):
        if name.startswith("features"):
            _, speed = _references_and_speed(name)
            features, _ = model.encode(tensors["codes"][0], tensors["text"], style, speed=speed)
            yield Output(name, features, tensors[name])
        elif name.startswith("mel_"):
            n_steps = int(name.split("_")[1])
            mel = model.sample(tensors["mu"].transpose(1, 2), tensors["prompt"], tensors["noise"], n_steps)
            yield Output(name, mel, tensors[name])


def check_bigvgan(golden: Golden) -> Iterator[Output]:
    """The v3 vocoder."""
    model = build_bigvgan(
        BigVganConfig.from_json(golden.manifest["config"]), golden.state(), device=golden.device, dtype=golden.dtype
    )
    yield Output("wav", model(golden.tensors["mel"]), golden.tensors["wav"])


def check_v4_vocoder(golden: Golden) -> Iterator[Output]:
    """The v4 vocoder."""
    model = build_v4_vocoder(golden.state(), device=golden.device, dtype=golden.dtype)
    yield Output("wav", model(golden.tensors["mel"]), golden.tensors["wav"])


def _references_and_speed(name: str) -> tuple[int, float]:
    """`wav_two_refs` -> 2 references at speed 1; `wav_speed_1_25` -> one at 1.25."""
    words = name.split("_")
    n_refs = next((_COUNTS[word] for word in words if word in _COUNTS), 1)
    return n_refs, float(".".join(words[words.index("speed") + 1 :])) if "speed" in words else 1.0


def _cases(golden: Golden, key: str) -> Iterator[int]:
    case = 0
    while f"{key}{case}" in golden.tensors:
        yield case
        case += 1


# The longest stem that the golden's name starts with decides.
CHECKS: Mapping[str, Check] = {
    "t2s": check_t2s,
    "sampling": check_sampling,
    "audio": check_audio,
    "sv": check_speaker,
    "sovits_v1": check_vits,
    "sovits_v2": check_vits,
    "sovits_v3": check_cfm,
    "sovits_v4": check_cfm,
    "vocoder_v3": check_bigvgan,
    "vocoder_v4": check_v4_vocoder,
}


def find_check(name: str) -> Check | None:
    stems = sorted((stem for stem in CHECKS if name.startswith(stem)), key=len)
    return CHECKS[stems[-1]] if stems else None


def read_goldens(folder: Path) -> Iterator[Golden]:
    for path in sorted(folder.glob("*.json")):
        tensors = path.with_suffix(".safetensors")
        if tensors.is_file():
            yield Golden(path.stem, json.loads(path.read_text(encoding="utf-8")), load_file(tensors))


def run(golden: Golden, bound: float = BOUND) -> list[Result]:
    """Runs the check that the golden's name picks; none for a name that no check knows."""
    check = find_check(golden.name)
    if check is None:
        return []
    with torch.inference_mode():
        tolerance = golden.manifest.get("tolerance")
        if tolerance is None:
            return [compare(output.name, output.actual, output.stored, bound) for output in check(golden)]
        rounding = float(golden.manifest.get("rounding_tolerance", ROUNDING_BOUND))
        results: list[Result] = []
        if golden.weights is None:
            golden = golden.with_weights()
        doubles = list(check(golden.on(golden.device, torch.float64)))
        for double, single in zip(doubles, check(golden), strict=True):
            results.append(compare(f"{double.name} in float64", double.actual, double.stored, float(tolerance)))
            results.append(compare(f"{double.name}, float32 of float64", single.actual, double.actual, rounding))
        return results


def report(results: Sequence[Result]) -> str:
    """The largest error under each bound, and all that are beyond it."""
    lines = []
    for bound in sorted({result.bound for result in results}):
        group = [result for result in results if result.bound == bound]
        worst = max(group, key=lambda result: (result.error != result.error, result.error))
        failed = [result for result in group if not result.is_within_bound]
        verdict = "ok" if not failed else "FAIL: " + ", ".join(f"{r.output} {r.error:.2e}" for r in failed)
        lines.append(f"largest error {worst.error:.2e} of full scale ({worst.output}), bound {bound:.0e}  {verdict}")
    return "; ".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the models with stored outputs.")
    parser.add_argument("folder", type=Path, help="holds NAME.json and NAME.safetensors of each golden")
    parser.add_argument("name", nargs="*", help="only these goldens; all without one")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    is_good, n_goldens = True, 0
    before: Golden | None = None
    for golden in read_goldens(folder):
        if options.name and golden.name not in options.name:
            continue
        n_goldens += 1
        before = golden = golden.with_weights(before)
        results = run(golden)
        is_good = is_good and bool(results) and all(result.is_within_bound for result in results)
        print(f"{golden.name:20s} {report(results) or 'FAIL: no check knows this name'}", flush=True)
    if not n_goldens:
        print(f"no goldens {' '.join(options.name)} in {folder}" if options.name else f"no goldens in {folder}")
    return 0 if is_good and n_goldens else 1


if __name__ == "__main__":
    sys.exit(main())
