"""`python -m benchmarks`: full-size v2 models on this machine, one thread and all; prints and saves JSON."""

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
from pathlib import Path

from benchmarks.seeded import CONFIG

RESULTS = Path(__file__).parent / "results"


def measure(pack: Path) -> dict[str, float]:
    """All figures of this process, whose number of threads is set by its environment."""
    import torch

    from benchmarks.flow_matching import measure_flow_matching
    from benchmarks.parts import measure_gpt, measure_prompt, measure_sovits
    from benchmarks.requests import fix_token_counts, measure_requests, serving
    from sovits_service.service import build_service
    from sovits_service.settings import ServiceSettings, load_tts_settings

    settings = ServiceSettings()
    service = build_service(load_tts_settings(pack / CONFIG), settings)
    fix_token_counts()

    async def run() -> dict[str, float]:
        await service.start()
        model = service._models.current
        hubert = service._models._encoders[0]  # type: ignore[index]
        results = {**measure_gpt(model), **measure_sovits(model.vits), **measure_prompt(model, hubert)}
        async with serving(service, settings) as client:
            results |= await measure_requests(client)
        results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        await service.stop(0.0)
        return results

    results = asyncio.run(run())
    if torch.get_num_threads() == (os.cpu_count() or 1):  # minutes on one thread
        results |= measure_flow_matching()
    return results


def machine() -> dict[str, object]:
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, default=Path("build/benchmark_pack"), help="where the weights are made")
    parser.add_argument("--threads", type=int, help="measure in this process, with this many threads")
    parser.add_argument("--name", default="latest", help="name of the file under benchmarks/results")
    args = parser.parse_args()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args.pack)))
        return
    report: dict[str, object] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    # In a process of its own: making the weights takes more memory than using them.
    subprocess.run([sys.executable, "-m", "benchmarks.seeded", str(args.pack)], check=True)
    for threads in sorted({1, os.cpu_count() or 1}):
        command = [sys.executable, "-m", "benchmarks", "--pack", str(args.pack), "--threads", str(threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
        figures = json.loads(child.stdout.splitlines()[-1])
        report[f"threads_{threads}"] = {key: round(value, 3) for key, value in sorted(figures.items())}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(report, indent=1)
    (RESULTS / f"{args.name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
