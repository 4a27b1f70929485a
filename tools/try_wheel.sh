#!/usr/bin/env bash
# Installs a wheel into an empty environment, serves from an empty folder and asks for speech of the bundled voice.
# Usage: bash tools/try_wheel.sh dist/*.whl     (PYTHON, PORT)
set -euo pipefail
wheel=$(realpath "$1")
constraints=$(realpath "$(dirname "$0")/../constraints.txt")
port=${PORT:-9889}
limit_bytes=60000000

size_bytes=$(wc -c < "$wheel")
echo "$(basename "$wheel"): $size_bytes bytes"
if [ "$size_bytes" -gt "$limit_bytes" ]; then
  echo "the wheel has more than $limit_bytes bytes" >&2
  exit 1
fi

folder=$(mktemp -d)
server=""
finish() {
  if [ -n "$server" ]; then kill "$server" 2> /dev/null && wait "$server" || true; fi
  rm -rf "$folder"
}
trap finish EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check --prefer-binary -c "$constraints" "$wheel"
mkdir "$folder/empty"
cd "$folder/empty"
"$folder/env/bin/sovits-service" serve -p "$port" 2> "$folder/log" &
server=$!

# The port opens before the model loads; /ready answers 200 when it has spoken once.
ask='import sys, time, urllib.request as r
port, deadline_s = sys.argv[1], time.monotonic() + 120
while True:
    try:
        r.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5)
        break
    except OSError:
        if time.monotonic() > deadline_s:
            sys.exit("the service is not ready after two minutes")
        time.sleep(0.5)
body = b"""{"text": "Hello there.", "text_lang": "en", "voice_id": "female_calm", "seed": 1}"""
question = r.Request(f"http://127.0.0.1:{port}/tts", body, {"Content-Type": "application/json"})
answer = r.urlopen(question, timeout=120)
data = answer.read()
print(answer.status, answer.headers["Content-Type"], len(data), "bytes")
sys.exit(not (data[:4] == b"RIFF" and len(data) > 16000))'
"$folder/env/bin/python" -c "$ask" "$port" || { cat "$folder/log" >&2; exit 1; }
