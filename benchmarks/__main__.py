"""`python -m benchmarks`: full-size v2 models on this machine, back ends side by side; prints a table, saves JSON."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Figures, table
from benchmarks.seeded import CONFIG

RESULTS = Path(__file__).parent / "results"
# Back end and precision of a column; the first is what the others are compared with.
COLUMNS = {"torch": ("torch", "float32"), "onnx-float32": ("onnx", "float32"), "onnx": ("onnx", "int8")}


def measure(pack: Path, column: str, *, has_requests: bool, by_processor: bool) -> Figures:
    """All figures of this process, whose number of threads is set by its environment."""
    from benchmarks.parts import measure_bert, measure_gpt, measure_prompt, measure_sovits
    from benchmarks.requests import fix_token_counts, measure_requests, serving
    from sovits_service.service import build_service
    from sovits_service.settings import ServiceSettings, load_tts_settings

    backend, precision = COLUMNS[column]
    settings = ServiceSettings(backend=backend, precision=precision, graphs_dir=pack / "graphs")
    service = build_service(load_tts_settings(pack / CONFIG), settings)
    fix_token_counts()
    clock = time.process_time if by_processor else time.perf_counter

    async def run() -> Figures:
        start_s = clock()
        await service.start()
        results = {"start_s": clock() - start_s}
        model = service._models.current
        hubert, bert = service._models._encoders  # type: ignore[misc]
        results |= {**measure_gpt(model, clock), **measure_bert(bert, clock)}
        results |= {**measure_sovits(model.vits, clock), **measure_prompt(model, hubert, clock)}
        if has_requests:
            async with serving(service, settings) as client:
                results |= await measure_requests(client)
        results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        await service.stop(0.0)
        return results

    return asyncio.run(run())


def machine() -> dict[str, object]:
    import onnxruntime
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "instructions": sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def run_children(args: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Figures by number of threads and column, each from a process of its own."""
    runs: dict[str, dict[str, Figures]] = {}
    for threads in args.threads:
        for column in args.backend:
            command = [sys.executable, "-m", "benchmarks", "--pack", str(args.pack), "--threads", str(threads)]
            command += ["--child", "--backend", column]
            command += ["--parts"] * args.parts + ["--processor-time"] * args.processor_time
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
            figures = json.loads(child.stdout.splitlines()[-1])
            runs.setdefault(f"threads_{threads}", {})[column] = {
                key: round(value, 3) for key, value in sorted(figures.items())
            }
    if not args.parts and not args.processor_time:
        command = [sys.executable, "-m", "benchmarks.flow_matching"]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        runs["flow_matching"] = {"torch": json.loads(child.stdout.splitlines()[-1])}
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, default=Path("build/benchmark_pack"), help="where the weights are made")
    threads = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="+", default=threads, help="numbers of threads")
    parser.add_argument("--backend", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="the table's columns")
    parser.add_argument("--parts", action="store_true", help="the models by themselves, without requests over HTTP")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the processor's time, where other programs share the machine",
    )
    parser.add_argument("--name", default="latest", help="name of the file under benchmarks/results")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        import torch

        torch.set_num_threads(args.threads[0])
        figures = measure(args.pack, args.backend[0], has_requests=not args.parts, by_processor=args.processor_time)
        print(json.dumps(figures))
        return
    report: dict[str, object] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "clock": "processor" if args.processor_time else "wall",
    }
    # In a process of its own: making the weights takes more memory than using them.
    subprocess.run([sys.executable, "-m", "benchmarks.seeded", str(args.pack)], check=True)
    runs = run_children(args)
    report["runs"] = runs
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, columns in runs.items():
        print(table(name, columns))


if __name__ == "__main__":
    main()
