"""`python -m benchmarks.shared_operations`: what a replica asks of Redis and S3, idle and for each request; JSON.

A server with tiny models, a redis-server and moto's S3 on this machine. Redis counts its commands (those within scripts
too), bytes and processor time, moto logs each request.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import boto3
import httpx
import redis

from tests.e2e.tiny_server import clip, start_tiny, write_tiny
from tests.programs import require_program
from tests.unit.storage.conftest import RedisServer, free_port

REQUESTS, IDLE_S = 50, 30.0
KINDS: dict[str, dict[str, object]] = {
    "whole, made": {"seed": 1},
    "whole, from the cache": {"seed": 1},
    "whole, not to be kept": {"cache": False},
    "streamed, made and kept": {"seed": 2, "streaming_mode": 1},
    "streamed, not to be kept": {"cache": False, "streaming_mode": 1},
    "as a link": {"seed": 3, "response": "url"},
}
_OF_US = {"info", "config|resetstat", "hello", "client|setinfo", "ping"}


def redis_counts(client: redis.Redis) -> dict[str, float]:
    """Commands, bytes in both directions, and microseconds of the processor."""
    commands = client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in commands.items()}
    stats, cpu = client.info("stats"), client.info("cpu")
    found = {name: float(count) for name, count in calls.items() if name not in _OF_US}
    found["processor_us"] = 1e6 * (cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])
    return {**found, "bytes": float(stats["total_net_input_bytes"] + stats["total_net_output_bytes"])}


def s3_counts(log: Path) -> Counter[str]:
    """Requests by method and the first folder of their key."""
    lines = re.findall(r'"(GET|PUT|HEAD|DELETE|POST) /shared/?(\S*) HTTP', log.read_text(encoding="utf-8"))
    return Counter(
        "LIST" if method == "GET" and path.startswith("?") else f"{method} {path.split('/')[0]}"
        for method, path in lines
    )


def difference(after: dict[str, float], before: dict[str, float], per: float) -> dict[str, float]:
    changed = {name: (value - before.get(name, 0)) / per for name, value in after.items()}
    return {name: round(value, 2) for name, value in sorted(changed.items()) if value > 0.005}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="operations-"))
    server = RedisServer(require_program("redis-server"), folder)
    server.start()
    client = redis.Redis.from_url(server.url)
    log, port = folder / "s3.log", free_port()
    with log.open("wb") as sink:
        s3 = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=sink, stdout=sink)
    url = f"http://127.0.0.1:{port}"
    while "Running on" not in log.read_text(encoding="utf-8"):
        time.sleep(0.1)
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="shared")
    config = write_tiny(folder / "served")
    (folder / "served/voices/v0.wav").write_bytes(clip(0))
    (folder / "served/voices/v0.yaml").write_text("ref_audio: v0.wav\n", encoding="utf-8")
    objects = {"BACKEND": "s3", "BUCKET": "shared", "ENDPOINT_URL": url, "SHARE_VOICES": "true", "PUBLIC_URL": url}
    objects |= {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    variables = {f"SOVITS_OBJECTS__{name}": value for name, value in objects.items()} | {
        "SOVITS_SHARING__REDIS_URL": server.url,
        "SOVITS_CACHE__BACKEND": "redis",
        "SOVITS_CACHE__REDIS_URL": server.url,
        "SOVITS_RATE_LIMIT": "100000/minute",
        "SOVITS_MAX_CONCURRENT_PER_CLIENT": "1000",
    }
    served = start_tiny(config, **variables)
    try:
        time.sleep(5)
        before, files = redis_counts(client), s3_counts(log)
        time.sleep(IDLE_S)
        idle = difference(redis_counts(client), before, IDLE_S)
        report: dict[str, object] = {"idle, a second": {"redis": idle, "s3": difference(s3_counts(log), files, IDLE_S)}}
        for kind, fields in KINDS.items():
            before, files, start_s = redis_counts(client), s3_counts(log), time.monotonic()
            for number in range(REQUESTS):
                body = {"text": f"这个角色很好。今天{number}点见。", "text_lang": "zh", "voice_id": "v0", **fields}
                httpx.post(f"{served.url}/tts", json=body, timeout=60).raise_for_status()
            took_s = time.monotonic() - start_s
            now = redis_counts(client)
            now = {name: value - idle.get(name, 0.0) * took_s for name, value in now.items()}
            report[kind] = {
                "redis": difference(now, before, REQUESTS),
                "s3": difference(s3_counts(log), files, REQUESTS),
            }
    finally:
        served.process.kill()
        served.process.wait()
        s3.kill()
        server.stop()
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
