"""What a CUDA card makes of the engine: `make gpu`. Parts of under two minutes each, a line of JSON as each finishes.

Needs torch 2.10, transformers, numpy, safetensors and this repository, and no network: weights are made on the device.
`make gpu PARTS=cd` chooses parts; `make gpu TINY=1` tries all of them on a CPU, with models of a few kilobytes.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_bench import PHONEMES, PROMPT_TOKENS, Bench, Speaking
from benchmarks.gpu_models import MANIFESTS, PREFILL_ROWS, Maker, resample
from sovits_service.engine import decode_state
from sovits_service.engine.device_queue import open_queue, set_up_cuda
from sovits_service.engine.prompt_encoder import PromptEncoder
from sovits_service.engine.semantic_runner import SemanticRunner, captured_bytes
from sovits_service.engine.wave_decoder import VitsWaveDecoder
from sovits_service.engine.wave_graphs import VitsGraphs
from sovits_service.models.gpt import TextToSemantic
from sovits_service.models.sovits.vits import WINDOW_FRAMES
from sovits_service.types import FloatArray

# No part of what the engine needs: a machine with a card may lack them.
FOREIGN = {"av", "jieba", "soxr", "structlog", "fastapi", "onnxruntime", "pydantic", "soundfile", "anyio"}


def part_a(bench: Bench) -> dict[str, Any]:
    """Imports, the device, a sentence from end to end."""
    loaded = sorted({name.split(".")[0] for name in sys.modules} & FOREIGN)
    with Speaking(bench, slots=2) as speaking:
        seconds = asyncio.run(speaking.say(1))
    name = torch.cuda.get_device_name(bench.device) if bench.is_cuda else "CPU"
    return {"device": name, "torch": torch.__version__, "not_needed": loaded, "audio_s": round(seconds, 2)}


def part_b(bench: Bench) -> dict[str, Any]:
    """Stored outputs of the original: float32 within 1e-4 of full scale, float16 within 2e-2; the same top tokens."""
    from tools.parity import read_goldens, run

    names = ("sv",) if bench.maker.is_tiny else GOLDENS
    worst: dict[str, float] = {}
    for golden in read_goldens(MANIFESTS):
        if golden.name in names:
            results = run(golden.on(bench.device, torch.float32))
            worst[golden.name] = max(result.error / result.bound for result in results)
    half: dict[str, float] = {}
    halves = (torch.float16, torch.bfloat16) if bench.is_cuda else ()
    for golden in read_goldens(MANIFESTS):
        if bench.is_cuda and golden.name in ("sovits_v2", "vocoder_v4"):
            results = run(golden.on(bench.device, torch.float16), bound=2e-2)
            half[golden.name] = max(r.error for r in results if r.output != "codes_of_ssl")
    return {
        "error_over_bound": {name: round(value, 3) for name, value in worst.items()},
        "half_error": {name: round(value, 5) for name, value in half.items()},
        "top_1": {str(dtype).removeprefix("torch."): top_1_agreement(bench, dtype) for dtype in halves},
        "ok": all(value <= 1 for value in worst.values()) and all(value <= 2e-2 for value in half.values()),
    }


GOLDENS = (
    "t2s_v1",
    "t2s_v2",
    "sovits_v1",
    "sovits_v2",
    "sovits_v2Pro",
    "sovits_v2ProPlus",
    "sv",
    "vocoder_v4",
    "sovits_v4",
)


@torch.inference_mode()
def top_1_agreement(bench: Bench, dtype: torch.dtype) -> float:
    """How often a GPT in half precision finds the stored token the likeliest, given those before it."""
    from sovits_service.models.checkpoint_models import build_gpt
    from sovits_service.models.gpt import GptConfig
    from tools.parity import read_goldens

    golden = next(golden for golden in read_goldens(MANIFESTS) if golden.name == "t2s_v2")
    state = golden.state()
    config = GptConfig.from_checkpoint(golden.manifest["config"], state)
    model = build_gpt(config, state, device=bench.device, dtype=dtype)
    tensors = golden.on(bench.device, dtype).tensors
    stored = tensors["greedy0"]
    tokens = torch.cat([tensors["prompt0"], stored[:, :-1]], dim=1)
    logits = model(tensors["x0"], tensors["bert0"].transpose(1, 2), tokens)[:, -stored.shape[1] :, :-1]
    return round(float((logits.argmax(2) == stored).float().mean()), 4)


def part_c(bench: Bench) -> dict[str, Any]:
    """The same seed alone and among others, prefilled with them in one pass, over a change of the graph's bound."""
    slots = bench.batches[-1]
    tokens = min(300, bench.maker.capacity_tokens - PHONEMES - 40 - PROMPT_TOKENS)

    def spoken(gpt: TextToSemantic, others: int, *, is_deterministic: bool = True) -> list[int]:
        runner = SemanticRunner(
            gpt,
            slots,
            bench.maker.capacity_tokens,
            queue=bench.maker.queue,
            is_deterministic=is_deterministic,
            prefill_rows=PREFILL_ROWS,
        )
        running = [bench.sequence(1, others, tokens)]
        running += [bench.sequence(2 + slot, slot, tokens) for slot in range(others)]
        bench.prefill(runner, running)
        while not running[0].is_finished:
            runner.step([sequence for sequence in running if not sequence.is_finished], len(running))
        return running[0].tokens

    gpt, bfloat16 = bench.maker.gpt(), bench.maker.gpt(torch.bfloat16)
    alone, again, together = spoken(gpt, 0), spoken(gpt, 0), spoken(gpt, slots - 1)
    first = next((i for i, (a, b) in enumerate(zip(alone, together, strict=False)) if a != b), None)
    return {
        "tokens": len(alone),
        "repeats": alone == again,
        "alone_as_together": alone == together,
        "differs_at": first,
        "alone_in_few_rows_too": alone == spoken(gpt, 0, is_deterministic=False),
        "alone_as_together_in_bfloat16": spoken(bfloat16, 0) == spoken(bfloat16, slots - 1),
    } | wave_errors(bench)


def wave_errors(bench: Bench) -> dict[str, float]:
    """How far waves of four streams made in batches, and by graphs, are from those made alone by plain calls.

    Of full scale.
    """
    vits = bench.maker.vits("v2")
    prompts = PromptEncoder(vits, bench.maker.hubert(), None, resample=resample)
    rate_hz, queue = vits.config.sampling_rate, bench.maker.queue
    plain = VitsWaveDecoder(vits, rate_hz, max_batch=4)
    captured = VitsWaveDecoder(vits, rate_hz, max_batch=4, queue=queue)
    voices = [prompts.encode([bench.maker.voice(seed)]) for seed in range(4)]

    def waves(decoder: VitsWaveDecoder, together: int) -> list[FloatArray]:
        streams = [decoder.open(bench.sequence(seed, seed, 1), voice) for seed, voice in enumerate(voices)]
        for seed, stream in enumerate(streams):
            stream.feed([(7 * index + seed) % 60 for index in range(bench.tokens)], is_final=True)
        pieces: dict[int, list[FloatArray]] = {seed: [] for seed in range(4)}
        for start in range(0, 4, together):
            while waiting := [stream for stream in streams[start : start + together] if stream.has_work]:
                made = queue.beside(functools.partial(decoder.advance, waiting))
                for stream, piece in zip(waiting, made, strict=True):
                    pieces[stream.sequence.job.options.seed].append(piece)
        return [np.concatenate(parts) for parts in pieces.values()]

    alone = waves(plain, 1)

    def error(decoder: VitsWaveDecoder, together: int) -> float:
        pairs = zip(alone, waves(decoder, together), strict=True)
        return round(max(float(np.abs(one - other).max()) for one, other in pairs), 6)

    return {"wave_error_in_company": error(plain, 4), "wave_error_captured": error(captured, 1)}


def part_d(bench: Bench) -> dict[str, Any]:
    """Decode tokens per second by batch, how long prefills and windows of waves take, and what graphs hold.

    Each with graphs and without: a graph's step, prefill or window is one launch.
    """
    gpt = bench.maker.gpt()
    tokens_per_s: dict[str, Any] = {}
    prefills: dict[str, Any] = {}
    for use_graphs, name in ((True, ""), (False, "_without_graphs")):
        for batch in bench.batches:
            tokens_per_s[f"batch_{batch}{name}"] = decoded_per_s(bench, gpt, batch, use_graphs=use_graphs)
        for count in (1, 4):
            prefills[f"{count}{name}"] = prefill_ms(bench, gpt, count, use_graphs=use_graphs)
    windows, waves_mb = window_ms(bench)
    return {
        "tokens_per_s": tokens_per_s,
        "prefill_ms": prefills,
        "window_ms": windows,
        "graphs_mb": {"decoding": graphs_mb(bench, gpt), "expected": expected_mb(bench, gpt), "waves": waves_mb},
    }


def decoded_per_s(bench: Bench, gpt: TextToSemantic, batch: int, *, use_graphs: bool) -> int:
    maker = bench.maker
    runner = SemanticRunner(gpt, batch, maker.capacity_tokens, queue=maker.queue, use_graphs=use_graphs)
    running = [bench.sequence(slot, slot, 10**6) for slot in range(batch)]
    bench.prefill(runner, running)
    for _ in range(10):
        runner.step(running, batch)
    bench.synchronize()
    start_s, done = time.perf_counter(), 0
    for _ in range(bench.rounds):
        running = [sequence for sequence in running if not sequence.is_finished]
        done += runner.step(running, batch).tokens
    bench.synchronize()
    return round(done / (time.perf_counter() - start_s))


def prefill_ms(bench: Bench, gpt: TextToSemantic, count: int, *, use_graphs: bool) -> float:
    """How long so many sequences take from their admission to their first tokens, in passes without spare rows."""
    maker = bench.maker
    runner = SemanticRunner(
        gpt,
        count,
        maker.capacity_tokens,
        queue=maker.queue,
        is_deterministic=False,
        use_graphs=use_graphs,
        prefill_rows=PREFILL_ROWS,
    )

    def prefill() -> None:
        bench.prefill(runner, [bench.sequence(slot, slot, 1) for slot in range(count)])

    return median_ms(bench, prefill, between=lambda: runner.step([], 0))


@torch.inference_mode()
def window_ms(bench: Bench) -> tuple[dict[str, float], float]:
    """How long HiFi-GAN takes for first and full windows, one and eight; and what its graphs and the flow's hold."""
    vits = bench.maker.vits()
    like, config = vits.ssl_proj.weight, vits.config
    before_mb = bench.reserved_mb()
    captured = VitsGraphs(vits, bench.maker.queue, 8, WINDOW_FRAMES[-1])
    held_mb = bench.reserved_mb() - before_mb
    times: dict[str, float] = {}
    for networks, name in ((captured, ""), (VitsGraphs(vits, None, 8, WINDOW_FRAMES[-1]), "_without_graphs")):
        for count, frames in ((1, WINDOW_FRAMES[0]), (1, WINDOW_FRAMES[-1]), (8, WINDOW_FRAMES[-1])):
            latents, style = (
                like.new_zeros(count, config.inter_channels, frames),
                like.new_zeros(count, config.gin_channels, 1),
            )
            generate = functools.partial(networks.generate, latents, style)
            times[f"{count}x{frames}{name}"] = median_ms(bench, generate)
    return times, round(held_mb, 1)


def median_ms(bench: Bench, work: Callable[[], object], between: Callable[[], object] = lambda: None) -> float:
    times_s = []
    for _ in range(5):
        bench.synchronize()
        start_s = time.perf_counter()
        work()
        bench.synchronize()
        times_s.append(time.perf_counter() - start_s)
        between()
    return round(1e3 * statistics.median(times_s), 2)


def graphs_mb(bench: Bench, gpt: TextToSemantic) -> float:
    """What the graphs of decoding and of prefills hold."""

    def held_mb(*, use_graphs: bool) -> float:
        maker, before_mb = bench.maker, bench.reserved_mb()
        runner = SemanticRunner(gpt, 4, maker.capacity_tokens, queue=maker.queue, use_graphs=use_graphs)
        held = bench.reserved_mb() - before_mb
        del runner
        return held

    return round(held_mb(use_graphs=True) - held_mb(use_graphs=False), 1)


def expected_mb(bench: Bench, gpt: TextToSemantic) -> float:
    """What `kv_cache: auto` leaves for them."""
    return round(captured_bytes(gpt.config, bench.maker.capacity_tokens) / 2**20, 1)


def part_e(bench: Bench) -> dict[str, Any]:
    """First audio and audio per second, through the engine, by how many listen: as shipped, and in free batches.

    Each with waves captured, and with plain calls.
    """
    return {
        f"{kind}{name}": heard(bench, is_batching=is_batching, captures_waves=captures_waves)
        for kind, is_batching in (("deterministic", False), ("batching", True))
        for name, captures_waves in (("", True), ("_plain_waves", False))
    }


def heard(bench: Bench, *, is_batching: bool, captures_waves: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    slots = bench.streams[-1]
    with Speaking(bench, slots=slots, is_batching=is_batching, captures_waves=captures_waves) as speaking:
        asyncio.run(speaking.say(0))
        for count in bench.streams:
            start_s = time.perf_counter()
            firsts_s, audio_s = asyncio.run(speaking.listen(count))
            wall_s = time.perf_counter() - start_s
            result[str(count)] = {
                "first_audio_ms_p50": round(1e3 * statistics.median(firsts_s), 1),
                "first_audio_ms_p95": round(1e3 * sorted(firsts_s)[math.ceil(0.95 * count) - 1], 1),
                "audio_s_per_s": round(audio_s / wall_s, 1),
            }
    return result


def part_f(bench: Bench) -> dict[str, Any]:
    """Listeners that leave, no memory, many voices: what is held afterwards, and whether it still speaks."""
    leavers, voices = (500, 200) if bench.is_cuda else (20, 5)
    with Speaking(bench, slots=bench.streams[-1]) as speaking:
        asyncio.run(speaking.say(1))
        before_mb = bench.allocated_mb()
        asyncio.run(speaking.leave(leavers))
        after_leaving_mb = bench.allocated_mb()
        refused = speaking.say_without_memory() if bench.is_cuda else None
        for seed in range(voices):
            asyncio.run(speaking.say(1, voice=100 + seed, tokens=12))
        seconds = asyncio.run(speaking.say(1))
        speaking.engine.stop(10.0)
        active = speaking.engine.stats().active_jobs
    return {
        "leavers_mb": round(after_leaving_mb - before_mb, 1),
        "refused_without_memory": refused,
        "voices_mb": round(bench.allocated_mb() - after_leaving_mb, 1),
        "stuck": active,
        "still_speaks": seconds > 0,
    }


def part_g(bench: Bench) -> dict[str, Any]:
    """v4 at 8 steps: seconds of audio per second, alone, for four one by one and in batches; alone without graphs."""
    result = {}
    kinds = (("", False, True, (1, 4)), ("_batched", True, True, (4,)), ("_plain", False, False, (1,)))
    for kind, is_batching, captures_waves, counts in kinds:
        with Speaking(bench, slots=4, version="v4", is_batching=is_batching, captures_waves=captures_waves) as speaking:
            asyncio.run(speaking.say(1, mode=0))
            for count in counts:
                start_s = time.perf_counter()
                _, audio_s = asyncio.run(speaking.listen(count, mode=0))
                result[f"audio_s_per_s_{count}{kind}"] = round(audio_s / (time.perf_counter() - start_s), 2)
    return result


PARTS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    "a": part_a,
    "b": part_b,
    "c": part_c,
    "d": part_d,
    "e": part_e,
    "f": part_f,
    "g": part_g,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a CUDA card makes of the engine.")
    parser.add_argument("--parts", default="".join(PARTS), help="letters, in order: " + "".join(PARTS))
    parser.add_argument("--tiny", action="store_true", help="all parts on a CPU, with tiny models")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("torch sees no CUDA device; TINY=1 tries the script on a CPU", file=sys.stderr)
        return 1
    decode_state.MIN_NEW_TOKENS = 10**9  # random weights would end anywhere
    device = torch.device("cpu" if options.tiny else options.device)
    if device.type == "cuda":
        set_up_cuda()
    dtype = torch.float32 if options.tiny else torch.float16
    queue = open_queue(device)
    tiny = Bench(Maker(device, dtype, is_tiny=True, queue=queue), (1, 2), (1, 2), 40, 20)
    full = Bench(Maker(device, dtype, is_tiny=False, queue=queue), (1, 8, 32, 64), (1, 8, 32), 125, 200)
    bench = tiny if options.tiny else full
    is_good = True
    for letter in options.parts:
        start_s = time.perf_counter()
        line: dict[str, Any] = {"part": letter}
        try:
            line |= PARTS[letter](bench)
        except Exception as error:  # noqa: BLE001 - the other parts are still worth their minutes
            line |= {"error": type(error).__name__, "message": str(error)[:500]}
        is_good &= "error" not in line and line.get("ok", True)
        print(json.dumps(line | {"seconds": round(time.perf_counter() - start_s, 1)}), flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
