"""`python -m benchmarks.soak`: what a server holds while clients of many kinds talk to it; JSON, and 1 if it grows.

Memory, file descriptors and threads every second, and how long answers take.

Texts of any length in five languages, all streaming modes and formats, the packaged voices and clips of other
lengths. The server is a process of its own on a loopback port, run as `sovits-service serve` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
VOICES = ("female_calm", "male_narrator", "child_happy")
FORMATS = ("wav", "raw", "ogg", "mp3", "flac")
TEXTS = {
    "zh": (
        "清晨的阳光洒在安静的湖面上，几只白鹭从远处慢慢飞来。老人坐在门前的石阶上，手里捧着一杯热茶，听孩子们"
        "说学校里发生的事情。今天气温是二十三度，风很小，适合出门走走。明天下午三点半，我们在图书馆门口见面，"
        "好吗？"
    ),
    "en": (
        "The morning light lay on the quiet lake, and a few herons came flying slowly from afar. An old man "
        "sat on the stone steps with a cup of tea, listening to what the children had to say. It is 23 "
        "degrees today; the wind is light. Shall we meet at half past three tomorrow, in front of the "
        "library?"
    ),
    "ja": (
        "朝の光が静かな湖に広がり、遠くから白い鳥がゆっくり飛んできました。おじいさんは石段に座って、熱いお茶"
        "を飲みながら、子どもたちの話を聞いています。今日の気温は二十三度で、風も弱いです。明日の三時半に図書"
        "館の前で会いましょうか。"
    ),
    "ko": (
        "아침 햇살이 고요한 호수 위에 내려앉고, 멀리서 새 몇 마리가 천천히 날아옵니다. 할아버지는 돌계단에 "
        "앉아 따뜻한 차를 마시며 아이들의 이야기를 듣습니다. 오늘 기온은 이십삼 도이고 바람이 약합니다. 내일 "
        "세 시 반에 도서관 앞에서 만날까요?"
    ),
    "yue": (
        "今朝個湖好靜，有幾隻白鷺由遠處慢慢飛過嚟。阿伯坐喺門口嘅石級度，手裏面揸住杯熱茶，聽啲細路講學校嘅事"
        "。今日二十三度，冇乜風，啱晒出街行吓。聽日下晝三點半，我哋喺圖書館門口見，好唔好？"
    ),
}
_CLIPS = 24
_SAMPLE_S = 1.0
_IDLE_S = 12.0
_SPARE = 32  # descriptors and threads that pools may keep


@dataclass
class Watched:
    """What was seen of the server.

    Attributes:
        answers_s: from a request to the end of its answer, of those with status 200.
        times_s, resident_mb, descriptors, threads: of each look; the last one when all is quiet.
        after_mb: resident memory when all is quiet, and the part of it that is no mapped file.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    audio_bytes: int = 0
    answers_s: list[float] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    after_mb: tuple[float, float] = (0.0, 0.0)

    def look(self, pid: int, now_s: float) -> None:
        self.times_s.append(now_s)
        self.resident_mb.append(memory_mb(pid)[0])
        self.count(pid)

    def count(self, pid: int) -> None:
        process = Path(f"/proc/{pid}")
        self.descriptors.append(len(list((process / "fd").iterdir())))
        self.threads.append(len(list((process / "task").iterdir())))


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process, and the part of it that is no mapped file, in MB of 2^20 bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kilobytes["Rss"] / 1024, kilobytes["Anonymous"] / 1024


def draw_text(draw: random.Random, language: str) -> str:
    """A piece of the language's text, of 4 characters to all of it, that begins and ends anywhere."""
    whole = TEXTS[language]
    length = min(len(whole), int(4 * (len(whole) / 4) ** draw.random()))
    start = draw.randrange(len(whole) - length + 1)
    return whole[start : start + length]


def draw_request(draw: random.Random) -> dict[str, object]:
    language = draw.choice(list(TEXTS))
    mode = draw.randrange(4)
    request: dict[str, object] = {
        "text": draw_text(draw, language),
        "text_lang": draw.choice([language, "auto" if language != "yue" else "auto_yue"]),
        "streaming_mode": mode,
        "media_type": draw.choice(FORMATS),
        "speed_factor": draw.choice([1.0, 1.0, 0.9, 1.15, 1.3]),
        "text_split_method": draw.choice(["cut0", "cut5", "cut5"]),
        "seed": draw.randrange(2**31),
        "cache": False,
    }
    if draw.random() < 0.5:
        return request | {"voice_id": draw.choice(VOICES)}
    clip = draw.randrange(_CLIPS)
    said = {"prompt_text": TEXTS["zh"][: 6 + clip], "prompt_lang": "zh"} if clip % 2 else {"prompt_lang": "zh"}
    return request | {"ref_audio_path": f"clip_{clip}.wav", **said}


def write_clips(folder: Path) -> None:
    """Clips of 3.1 to 9.9 s, no two of one length."""
    for number in range(_CLIPS):
        samples, rate_hz = soundfile.read(ROOT / f"voices/{VOICES[number % 3]}.wav", dtype="float32")
        duration_s = 3.1 + 6.8 * number / (_CLIPS - 1)
        clip = np.resize(samples, int(duration_s * rate_hz))
        soundfile.write(folder / f"clip_{number}.wav", clip, rate_hz)


async def converse(http: httpx.AsyncClient, draw: random.Random, end_s: float, watched: Watched) -> None:
    """One client, one request after the other."""
    while time.perf_counter() < end_s:
        began_s = time.perf_counter()
        answer = await http.post("/tts", json=draw_request(draw))
        watched.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            watched.answers_s.append(time.perf_counter() - began_s)
            watched.audio_bytes += len(answer.content)
        elif answer.status_code != 503:
            print(answer.text, file=sys.stderr)


async def soak(url: str, pid: int, clients: int, seconds: float) -> Watched:
    """All clients, and a look at the server every second, from when it is ready until the last answer."""
    watched = Watched()
    async with httpx.AsyncClient(base_url=url, timeout=300.0) as http:
        start_s = time.perf_counter()
        watched.look(pid, 0.0)
        talking = [
            asyncio.create_task(converse(http, random.Random(number), start_s + seconds, watched))
            for number in range(clients)
        ]
        while not all(task.done() for task in talking):
            await asyncio.sleep(_SAMPLE_S)
            watched.look(pid, time.perf_counter() - start_s)
        for task in talking:
            task.result()
    await asyncio.sleep(_IDLE_S)
    watched.after_mb = memory_mb(pid)
    watched.count(pid)
    return watched


def slope_mb_per_minute(times_s: list[float], values_mb: list[float], last_s: float) -> float:
    """The median slope between any two looks of the last so many seconds (Theil-Sen): single long texts are peaks."""
    recent = [(t, v) for t, v in zip(times_s, values_mb, strict=True) if t >= times_s[-1] - last_s]
    times, values = np.array(recent[:: len(recent) // 1000 + 1]).T
    first, second = np.triu_indices(len(times), k=1)
    return float(60 * np.median((values[second] - values[first]) / (times[second] - times[first])))


def course(counts: list[int]) -> dict[str, int]:
    """How many there were when the server was ready, at the most, and when all was quiet again."""
    return {"ready": counts[0], "most": max(counts), "after": counts[-1]}


def report(watched: Watched, args: argparse.Namespace, ready_s: float) -> dict[str, object]:
    slope = slope_mb_per_minute(watched.times_s, watched.resident_mb, args.slope_s)
    recent = [
        mb for t, mb in zip(watched.times_s, watched.resident_mb, strict=True) if t >= args.seconds - args.slope_s
    ]
    every = max(1, int(args.seconds / 14))
    return {
        "clients": args.clients,
        "seconds": round(watched.times_s[-1], 1),
        "ready_s": round(ready_s, 2),
        "statuses": {str(status): count for status, count in sorted(watched.statuses.items())},
        "audio_mb": round(watched.audio_bytes / 2**20, 1),
        "ready_mb": round(watched.resident_mb[0]),
        "median_mb": round(float(np.median(recent))),
        "most_mb": round(max(watched.resident_mb)),
        "after_mb": round(watched.after_mb[0]),
        "after_private_mb": round(watched.after_mb[1]),
        "slope_mb_per_minute": round(slope, 1),
        "answer_s": {
            f"p{share}": round(float(np.percentile(watched.answers_s, share)), 2)
            for share in (50, 95, 99)
            if watched.answers_s
        },
        "descriptors": course(watched.descriptors),
        "threads": course(watched.threads),
        "course_mb": [round(value) for value in watched.resident_mb[::every]],
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "holds": set(watched.statuses) <= {200, 503}
        and watched.after_mb[0] <= args.limit_mb
        and slope <= args.slope_limit
        and watched.descriptors[-1] <= watched.descriptors[0] + _SPARE
        and watched.threads[-1] <= watched.threads[0] + _SPARE,
    }


@contextmanager
def serving(config: Path | None, folder: Path) -> Iterator[tuple[str, int, float]]:
    """The address and process of a server on a free loopback port, and the seconds until it was ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    write_clips(folder)
    environment = os.environ | {"SOVITS_REFERENCE_ROOTS": str(folder), "SOVITS_CACHE__BACKEND": "off"}
    environment |= {"SOVITS_JOBS__DIR": str(folder / "jobs")}
    environment |= {"SOVITS_LOG_LEVEL": "warning", "SOVITS_RATE_LIMIT": ""}
    command = [sys.executable, "-m", "sovits_service", "serve", "-p", str(port)]
    command += ["-c", str(config.resolve())] if config is not None else []
    url, start_s = f"http://127.0.0.1:{port}", time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        try:
            while True:
                if server.poll() is not None:
                    raise SystemExit(f"the server ended with {server.returncode}")
                try:
                    if httpx.get(f"{url}/ready", timeout=30).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            yield url, server.pid, time.perf_counter() - start_s
        finally:
            server.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--slope-s", type=float, default=180.0, help="the last seconds, over which growth is counted")
    parser.add_argument("--limit-mb", type=float, default=900.0, help="what the server may hold afterwards")
    parser.add_argument("--slope-limit", type=float, default=10.0, help="growth in MB a minute that counts as none")
    parser.add_argument("-c", "--config", type=Path, help="the server's; default: the demo pack")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(args.config, Path(folder)) as (url, pid, ready_s):
        watched = asyncio.run(soak(url, pid, args.clients, args.seconds))
    figures = report(watched, args, ready_s)
    print(json.dumps(figures, indent=1))
    return 0 if figures["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
