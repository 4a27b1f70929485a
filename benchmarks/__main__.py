"""`python -m benchmarks`: full-size v2 models on this machine, back ends side by side; prints a table, saves JSON."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.child import COLUMNS, MODELS, PARTS
from benchmarks.report import Figures, table

OTHERS = """others, each with --help of its own: python -m benchmarks.
  fleet              simulate up to 1,000 replicas with the service times of benchmarks.calibrate
  calibrate          how fast one replica is, by the number of requests that share it
  two_replicas       compare the simulation with two real replicas
  routing            voices found warm by four engines of Ray Serve
  shared_operations  what a replica asks of Redis and S3
  load, soak, stalls, jobs, quality, text, timestamps, agreement, check, gpu (make gpu)"""
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


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


def commit(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def run_children(args: argparse.Namespace, pack: Path) -> dict[str, dict[str, Figures]]:
    """Figures by number of cores and column, each from a process of its own."""
    runs: dict[str, dict[str, Figures]] = {}
    columns = ["before"] * (args.before is not None) + args.backend
    for cores in args.threads:
        for column in columns:
            parts = [part for part in args.parts if part != "flow_matching" or column == columns[0]]
            command = [sys.executable, "-m", "benchmarks.child", str(pack), column, "--cores", str(cores)]
            command += ["--parts", *parts, *["--processor-time"] * args.processor_time]
            tree = args.before if column == "before" else ROOT
            environment = {**os.environ, "PYTHONPATH": str(tree.absolute() / "src"), "TQDM_DISABLE": "1"}
            environment.pop("OMP_NUM_THREADS", None)  # the service counts the cores that it is bound to
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT, check=True)
            figures = json.loads(child.stdout.splitlines()[-1])
            runs.setdefault(f"threads_{cores}", {})[column] = {
                key: round(value, 3) for key, value in sorted(figures.items())
            }
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=OTHERS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=Path, default=ROOT / "build/benchmark_pack", help="where the weights are made")
    cores = sorted({1, len(os.sched_getaffinity(0))})
    parser.add_argument("--threads", type=int, nargs="+", default=cores, help="numbers of cores to be bound to")
    columns = [column for column in COLUMNS if column != "before"]
    parser.add_argument("--backend", nargs="+", choices=columns, default=columns, help="the table's columns")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit, to be the first column")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the processor's time, where other programs share the machine; of models alone",
    )
    parser.add_argument("--name", default="latest", help="name of the file under benchmarks/results")
    args = parser.parse_args()
    if args.processor_time and not set(args.parts) <= set(MODELS):
        parser.error(f"--processor-time measures models alone: --parts {' '.join(MODELS)}")
    report: dict[str, object] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "machine": machine(),
        "clock": "processor" if args.processor_time else "wall",
    }
    if args.before is not None:
        report["before"] = commit(args.before)
    # In a process of its own: making the weights takes more memory than using them.
    pack = args.pack.absolute()
    subprocess.run([sys.executable, "-m", "benchmarks.seeded", str(pack)], check=True, cwd=ROOT)
    runs = run_children(args, pack)
    report["runs"] = runs
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, figures in runs.items():
        print(table(name, figures))


if __name__ == "__main__":
    main()
