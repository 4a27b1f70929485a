"""Faults planted in the clips of the bundled voices are found over HTTP, and the clips themselves have none."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import soxr

from sovits_service.types import FloatArray
from tests.e2e.conftest import COMMAND, ROOT, Served, environment

FIRST, SECOND = "你好，很高兴见到你。", "我说话不快，请你慢慢听。"  # what female_calm says
SAID, MORE = FIRST + SECOND, "清晨的阳光洒在安静的湖面上。"
ENGLISH = "This story begins in a small town by the river, where nothing ever seemed to change."  # male_narrator
VOICES = {
    "female_calm": SAID,
    "male_narrator": ENGLISH,
    "child_happy": "哇，你看那只小猫，它在跟蝴蝶玩呢！我们一起过去吧！",
}


def sound(voice: str = "female_calm") -> FloatArray:
    samples, rate_hz = soundfile.read(ROOT / f"voices/{voice}.wav", dtype="float32")
    assert rate_hz == 32_000
    return samples


def check(server: Served, samples: FloatArray, text: str = SAID, language: str = "auto") -> dict[str, Any]:
    sink = io.BytesIO()
    soundfile.write(sink, samples, 32_000, format="WAV", subtype="PCM_16")
    fields = {"prompt_text": text, "prompt_lang": language} if text else {}
    answer = httpx.post(f"{server.url}/check_ref", files={"file": sink.getvalue()}, data=fields, timeout=300)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["ok"] == (not found["findings"])
    return found


def codes(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


@pytest.mark.parametrize("voice", VOICES)
def test_the_bundled_voices_have_no_fault(server: Served, voice: str) -> None:
    answer = httpx.post(f"{server.url}/voices/{voice}/check", timeout=300)
    assert answer.json() == {"ok": True, "findings": [], "not_checked": {}}
    assert check(server, sound(voice), VOICES[voice])["findings"] == []


def test_faults_of_the_sound(server: Served) -> None:
    samples = sound()
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    narrow = soxr.resample(soxr.resample(samples, 32_000, 8_000), 8_000, 32_000)
    pause = np.zeros(80_000, np.float32)
    planted = {
        "clipping": np.clip(samples, -0.3 * samples.max(), 0.3 * samples.max()),
        "noise": samples + 0.1 * samples.std() * noise,
        "bandwidth": narrow,
        "silence": np.concatenate([samples[:64_000], pause, samples[64_000:]]),
    }
    for code, faulty in planted.items():
        assert code in codes(check(server, faulty)), code
    short = check(server, samples[:64_000])
    assert codes(short) == ["length"]
    assert set(short["not_checked"]) == {"speakers", "transcript"}


@pytest.mark.parametrize(("one", "other"), [("female_calm", "male_narrator"), ("child_happy", "female_calm")])
def test_a_second_speaker_is_heard_where_he_begins(server: Served, one: str, other: str) -> None:
    report = check(server, np.concatenate([sound(one)[:96_000], sound(other)[:96_000]]), text="")
    assert codes(report) == ["speakers"]
    assert report["findings"][0]["start_s"] == pytest.approx(3.0, abs=1.0)
    assert set(report["not_checked"]) == {"transcript"}


def test_a_sentence_that_the_clip_does_not_say_is_named(server: Served) -> None:
    (finding,) = check(server, sound(), SAID + MORE)["findings"]
    assert finding["code"] == "transcript_not_said"
    start, end = finding["text_span"]
    assert (SAID + MORE)[start:end] == MORE.rstrip("。")
    (middle,) = check(server, sound(), FIRST + MORE + SECOND)["findings"][:1]
    assert middle["text_span"][0] == pytest.approx(len(FIRST), abs=4)
    assert "transcript" in codes(check(server, sound(), MORE + SAID))[0]


def test_a_sentence_that_the_transcript_leaves_out_is_named(server: Served) -> None:
    (finding,) = check(server, sound(), FIRST)["findings"]
    assert finding["code"] == "transcript_differs"
    assert finding["start_s"] > 2.0  # the first sentence is over
    assert finding["text_span"][1] <= len(FIRST)
    assert any(code.startswith("transcript") for code in codes(check(server, sound(), SECOND)))


def test_another_text_and_another_language(server: Served) -> None:
    assert any(code.startswith("transcript") for code in codes(check(server, sound(), VOICES["child_happy"])))
    found = codes(check(server, sound(), ENGLISH, "zh"))
    assert found[0] == "language"
    assert any(code.startswith("transcript") for code in found)


def test_what_cannot_be_checked(server: Served) -> None:
    assert httpx.post(f"{server.url}/voices/nobody/check").status_code == 404
    assert httpx.post(f"{server.url}/voices/female_calm/check?emotion=angry").status_code == 400
    assert httpx.post(f"{server.url}/check_ref", files={"file": b"<html>"}).status_code == 415


def test_the_command_names_a_voice_whose_transcript_is_wrong(checkout: Path) -> None:
    template = checkout / "voices/child_happy.yaml"
    template.write_text(template.read_text(encoding="utf-8").replace("我们一起过去吧！", SECOND), encoding="utf-8")
    command = [*COMMAND, "check", "--voices"]
    result = subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300, env=environment()
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for voice in ("female_calm", "male_narrator"):
        assert f"ok    voice {voice}: one voice, and it says its transcript" in lines
    assert any(line.startswith("warn  voice child_happy: transcript: ") for line in lines)
    assert lines[-1] == "ready to speak"
