"""Measure the text front end: `python benchmarks/text.py [--json FILE]`.

Import, first use and a warm sentence of each language, each in a fresh process, in CPU seconds; then how the time of
long texts grows. Ends with 1 when twice the characters take more than 2.2 times as long, over all doublings.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

SENTENCES = {
    "zh": "银行行长在重庆长大，他昨天花了3999元买了一台相机。",
    "en": "The manager grew up in Boston and paid $3,999 for a camera yesterday.",
    "ja": "昨日、駅前の店で新しいカメラを三千円で買いました。",
    "ko": "어제 역 앞 가게에서 새 카메라를 샀어요.",
    "yue": "我今日去咗飲茶，啲點心好好食，埋單三百蚊。",
}
LONG = {
    "zh": SENTENCES["zh"],
    "zh without marks": "这是一段没有任何标点的文字",
    "en": SENTENCES["en"] + " ",
    "digits": "1234567890",
    "marks": "。！，",
    "mixed": "我在GitHub上提交了pull request，价格是$3.5万。",
}
LENGTHS = (12_500, 25_000, 50_000, 100_000)
WORST_GROWTH = 2.2
_PROBE = """
import json, resource, sys, time
language, sentence = sys.argv[1], sys.argv[2]
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start, start_mb = time.process_time(), memory()
from sovits_service.text.frontend import Frontend
imported, imported_mb = time.process_time(), memory()
frontend = Frontend()
frontend.segments(sentence, language, "v2", "cut0")
first, first_mb = time.process_time(), memory()
for _ in range(5):
    frontend.segments(sentence, language, "v2", "cut0")
warm = time.process_time()
for _ in range(50):
    frontend.segments(sentence, language, "v2", "cut0")
print(json.dumps({"import_s": imported - start, "import_mb": imported_mb - start_mb, "first_use_s": first - imported,
    "first_use_mb": first_mb - imported_mb, "warm_ms": (time.process_time() - warm) * 20}))
"""


def measure_language(language: str) -> dict[str, float]:
    """Import, first use and a warm sentence, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, language, SENTENCES[language]], check=True, capture_output=True, text=True
    )
    measured: dict[str, float] = json.loads(result.stdout)
    return measured


def measure_growth(unit: str) -> list[float]:
    """CPU seconds for texts of each length, the best of three."""
    from sovits_service.errors import InvalidRequestError
    from sovits_service.text.frontend import Frontend

    frontend = Frontend()
    seconds: list[float] = []
    for length in (LENGTHS[0], *LENGTHS):  # the first one loads the dictionaries
        text = (unit * (length // len(unit) + 1))[:length]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            with contextlib.suppress(InvalidRequestError):
                frontend.segments(text, "auto", "v2", "cut5")
            best = min(best, time.process_time() - start)
        seconds.append(best)
    return seconds[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    report: dict[str, object] = {"python": platform.python_version(), "machine": platform.machine()}
    languages = {language: measure_language(language) for language in SENTENCES}
    print(f"{'':4} import s   MB   first use s   MB   warm ms")
    for language, figures in languages.items():
        print(
            f"{language:4} {figures['import_s']:8.2f} {figures['import_mb']:4.0f} {figures['first_use_s']:13.2f} "
            f"{figures['first_use_mb']:4.0f} {figures['warm_ms']:9.2f}"
        )
    growths: dict[str, dict[str, object]] = {}
    worst = 0.0
    print(f"\n{'characters':20}" + "".join(f"{length:>10,}" for length in LENGTHS) + "   growth")
    for name, unit in LONG.items():
        seconds = measure_growth(unit)
        growth = (seconds[-1] / seconds[0]) ** (1 / (len(LENGTHS) - 1))
        worst = max(worst, growth)
        growths[name] = {"seconds": seconds, "growth": growth}
        print(f"{name:20}" + "".join(f"{value:9.2f}s" for value in seconds) + f"   {growth:6.2f}")
    report |= {"languages": languages, "growth": growths}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(worst > WORST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
