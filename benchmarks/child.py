"""`python -m benchmarks.child`: figures of one column, in a process of its own that is bound to its cores; prints JSON.

Runs on earlier commits of the service as well, found by PYTHONPATH: `_settings` and `_slots` know what they lack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.parts import Clock
    from benchmarks.report import Figures
    from sovits_service.service.service import SpeechService
    from sovits_service.settings import ServiceSettings

# Back end and precision of a column; "before" is an earlier commit, which has but one.
COLUMNS = {
    "before": ("torch", "float32"),
    "torch": ("torch", "float32"),
    "onnx-float32": ("onnx", "float32"),
    "onnx": ("onnx", "int8"),
}
MODELS = ("gpt", "bert", "waves", "voice")  # the models by themselves
PARTS = (*MODELS, "requests", "clients", "gaps", "demo", "flow_matching")


def bind(cores: int) -> None:
    """Let this process run on so many cores; to be called before any library starts threads."""
    available = sorted(os.sched_getaffinity(0))
    if cores > len(available):
        sys.exit(f"{cores} threads are asked for, and this process may use {len(available)} cores")
    os.sched_setaffinity(0, available[:cores])


def _bound_native_memory() -> None:
    """As `serve` does, before torch is loaded."""
    try:
        from sovits_service.native_memory import bound_native_memory
    except ModuleNotFoundError:  # an earlier commit
        return
    bound_native_memory()


async def measure_pack(pack: Path, column: str, parts: Collection[str], clock: Clock) -> Figures:
    """Figures of full-size models."""
    from benchmarks import parts as models
    from benchmarks import requests
    from benchmarks.seeded import CONFIG

    requests.fix_token_counts()
    settings = _settings(column, pack / "graphs")
    service = await _started(_tts_settings(pack / CONFIG), settings)
    model, (hubert, bert) = service._models.current, service._models._encoders  # type: ignore[misc]
    measures: dict[str, Callable[[], Figures]] = {
        "gpt": lambda: models.measure_gpt(_slots(model), clock),
        "bert": lambda: models.measure_bert(bert, _slots(model), clock),  # type: ignore[arg-type]
        "waves": lambda: models.measure_sovits(model.vits, clock),  # type: ignore[arg-type]
        "voice": lambda: models.measure_prompt(model, hubert, clock),
    }
    results: Figures = {}
    for part in measures.keys() & parts:
        results |= measures[part]()
    if not parts <= set(MODELS):
        async with requests.serving(service, settings) as client:
            results |= await requests.measure_requests(client, parts)
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await service.stop(0.0)
    return results


async def measure_demo(column: str, graphs: Path) -> Figures:
    """A whole request of the demonstration voice."""
    from benchmarks import requests

    settings = _settings(column, graphs)
    service = await _started(_tts_settings(section="demo"), settings)
    async with requests.serving(service, settings) as client:
        results = await requests.measure_sentence(client)
    await service.stop(0.0)
    return {f"demo_{name}": value for name, value in results.items()}


def _tts_settings(path: Path | None = None, section: str = "custom") -> Any:
    try:
        from sovits_service.tts_settings import load_tts_settings
    except ModuleNotFoundError:  # an earlier commit
        from sovits_service.settings import load_tts_settings  # type: ignore[no-redef, attr-defined]
    return load_tts_settings(path, section)


async def _started(tts: Any, settings: ServiceSettings) -> SpeechService:
    try:
        from sovits_service.service.build import build_service
    except ModuleNotFoundError:  # an earlier commit
        from sovits_service.service import build_service  # type: ignore[no-redef, attr-defined]

    service = build_service(tts, settings)
    await service.start()
    return service


def _settings(column: str, graphs: Path) -> ServiceSettings:
    from sovits_service.settings import ServiceSettings

    backend, precision = COLUMNS[column]
    wanted = {"backend": backend, "precision": precision, "graphs_dir": graphs}
    return ServiceSettings(**{key: value for key, value in wanted.items() if key in ServiceSettings.model_fields})


class _EarlierSlots:
    """The calls of `SemanticSlots` on a GPT from before there were any."""

    def __init__(self, gpt: Any, cache: Any) -> None:
        self._gpt = gpt
        self._cache = cache

    def prefill(self, phoneme_ids: Any, bert: Any, prompt_tokens: Any, slot: int) -> Any:
        return self._gpt.prefill(phoneme_ids, bert, prompt_tokens, self._cache, slot)

    def decode_step(self, tokens: Any, token_positions: Any, cache_positions: Any, bound: int) -> Any:
        return self._gpt.decode_step(tokens, token_positions, cache_positions, self._cache, bound)


def _slots(model: Any) -> Any:
    gpt = model.gpt
    return gpt.open_slots(16, 512) if hasattr(gpt, "open_slots") else _EarlierSlots(gpt, gpt.new_cache(16, 512))


def measure_flow_matching() -> Figures:
    import torch

    from benchmarks.flow_matching import measure_flow_matching

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return measure_flow_matching()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("column", choices=COLUMNS)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--processor-time", action="store_true")
    args = parser.parse_args()
    bind(args.cores)
    _bound_native_memory()
    clock = time.process_time if args.processor_time else time.perf_counter
    parts = set(args.parts)
    results: Figures = {}
    if of_pack := parts - {"demo", "flow_matching"}:
        results |= asyncio.run(measure_pack(args.pack, args.column, of_pack, clock))
    if "demo" in parts:
        results |= asyncio.run(measure_demo(args.column, args.pack / "graphs"))
    if "flow_matching" in parts:
        results |= measure_flow_matching()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
