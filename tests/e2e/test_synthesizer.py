"""`from sovits_service import load`, as a program uses it, with the demonstration voice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from sovits_service import Synthesizer, load
from sovits_service.errors import (
    InvalidRequestError,
    SettingsError,
    SovitsError,
    UnknownVoiceError,
    UnsupportedAudioError,
)
from tests.e2e.conftest import ROOT, run_python
from tests.e2e.test_examples import blocks

TEXT = "你好，很高兴认识你。今天天气不错。"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, where the packaged model and voices are found."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("program")
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def tts(folder: Path) -> Iterator[Synthesizer]:
    with load() as tts:
        yield tts


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    return run_python(folder, "-W", "error", "-c", program)


def test_a_seed_gives_the_same_speech_again(tts: Synthesizer) -> None:
    first, second = (tts.synthesize(TEXT, voice="female_calm", seed=3) for _ in range(2))
    assert np.array_equal(first.samples, second.samples)
    assert first.samples.dtype == np.float32
    assert first.duration_s > 1.5
    drawn = tts.synthesize(TEXT, voice="female_calm")
    assert np.array_equal(drawn.samples, tts.synthesize(TEXT, voice="female_calm", seed=drawn.seed).samples)


def test_what_the_guard_finds_is_among_the_warnings(tts: Synthesizer) -> None:
    """A transcript that the clip does not say makes the model read it too."""
    wrong = "这段话和录音里说的完全不是一回事，而且长得多，后面还有很多很多的字。"
    for seed in range(5):
        speech = tts.synthesize(TEXT, voice="female_calm", seed=seed, guard="flag", prompt_text=wrong, prompt_lang="zh")
        if speech.warnings:
            assert all(warning.startswith("fragment ") for warning in speech.warnings)
            return
    pytest.fail("nothing was found in five takes")


def test_a_stream_is_the_speech_in_pieces(tts: Synthesizer) -> None:
    whole = tts.synthesize(TEXT, voice="female_calm", seed=3)
    chunks = list(tts.stream(TEXT, voice="female_calm", seed=3))
    assert len(chunks) > 2
    assert {chunk.sample_rate_hz for chunk in chunks} == {whole.sample_rate_hz}
    assert sum(len(chunk.samples) for chunk in chunks) == pytest.approx(len(whole.samples), rel=0.1)


def test_a_stream_that_is_left_ends_its_work(tts: Synthesizer) -> None:
    stream = tts.stream(TEXT * 20, voice="female_calm")
    next(stream)
    cancelled = tts._service.stats()["cancelled_total"]
    stream.close()
    tts.synthesize("你好。", voice="female_calm")  # the engine drops what was left before its next step
    assert tts._service.stats()["cancelled_total"] == cancelled + 1


def test_a_voice_is_chosen_where_none_is_named(tts: Synthesizer) -> None:
    assert tts.voices() == ["child_happy", "female_calm", "male_narrator"]
    speech = [tts.synthesize("你好。", voice=voice, seed=1).samples for voice in ("", "child_happy")]
    assert np.array_equal(*speech)


def test_a_clip_of_ones_own_speaks(tts: Synthesizer) -> None:
    clip = tts.add_reference(ROOT / "voices/female_calm.wav")
    spoken = tts.synthesize("你好。", ref_audio_path=clip, seed=1)
    assert spoken.duration_s > 0.2
    with pytest.raises(UnsupportedAudioError, match="send wav, flac"):
        tts.add_reference(b"no audio")


@pytest.mark.parametrize(
    ("clip", "said", "message"),
    [
        ("none.wav", {}, "none.wav: there is no such file"),
        ("voices/female_calm.wav", {"prompt_text": "你好"}, "prompt_lang is required"),
        ("voices/female_calm.wav", {"prompt_text": "hi", "prompt_lang": "xx"}, "prompt_lang: xx is not supported"),
        ("voices/female_calm.wav", {"prompt_text": "x" * 501, "prompt_lang": "en"}, "prompt_text has 501 characters"),
    ],
)
def test_a_reference_that_cannot_serve_is_told_why(
    tts: Synthesizer, clip: str, said: dict[str, str], message: str
) -> None:
    with pytest.raises(SovitsError, match=message):
        tts.add_reference(ROOT / clip, **said)


def test_several_threads_may_speak(tts: Synthesizer) -> None:
    alone = tts.synthesize(TEXT, voice="female_calm", seed=3)
    with ThreadPoolExecutor(3) as pool:
        spoken = pool.map(lambda seed: tts.synthesize(TEXT, voice="female_calm", seed=seed), (3, 4, 3))
    assert [np.array_equal(alone.samples, each.samples) for each in spoken] == [True, False, True]


@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_a_file_is_saved_in_the_format_of_its_ending(tts: Synthesizer, tmp_path: Path, ending: str) -> None:
    audio = tts.synthesize("你好。", voice="female_calm")
    audio.save(tmp_path / f"hello.{ending}")
    with av.open(tmp_path / f"hello.{ending}") as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        assert samples / file.streams.audio[0].rate == pytest.approx(audio.duration_s, abs=0.1)
    with pytest.raises(InvalidRequestError, match="it can be wav"):
        audio.save(tmp_path / "hello.doc")


def test_errors_say_what_to_do(tts: Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(UnknownVoiceError):
        tts.synthesize("你好。", voice="nobody")
    with pytest.raises(InvalidRequestError, match="did you mean 'speed_factor'"):
        tts.synthesize("你好。", speed_facto=1.2)
    with pytest.raises(InvalidRequestError):
        tts.stream("。")
    with pytest.raises(SettingsError, match="no such configuration file"):
        load(tmp_path / "nothing.yaml")


def test_nothing_is_spoken_after_the_end(folder: Path) -> None:
    program = """
from sovits_service import load
tts = load()
stream = tts.stream("A text that is left while it is said. It has two sentences.", voice="male_narrator")
next(stream)
tts.close()
tts.close()
for work in (tts.voices, lambda: next(stream)):
    try:
        work()
    except RuntimeError as error:
        print(error)
"""
    result = run(folder, program)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "the synthesizer is closed\n" * 2


def test_a_program_that_closes_nothing_ends(folder: Path) -> None:
    result = run(folder, "from sovits_service import load; print(load().synthesize('你好。').sample_rate_hz)")
    assert (result.returncode, result.stdout, result.stderr) == (0, "32000\n", "")


def test_a_stream_that_is_left_open_ends_with_its_synthesizer(folder: Path) -> None:
    program = """
from sovits_service import load
with load() as tts:
    left = tts.stream("你好。" * 20)
    next(left)
del left
"""
    result = run(folder, program)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_package_alone_imports_nothing_heavy(folder: Path) -> None:
    program = "import sys, sovits_service; print(sorted({'torch', 'numpy', 'av', 'fastapi'} & set(sys.modules)))"
    assert run(folder, program).stdout == "[]\n"


def test_the_example_of_the_documentation(folder: Path) -> None:
    for program in blocks("docs/python.md", "python"):
        result = run(folder, program)
        assert (result.returncode, result.stderr) == (0, "")
    assert (folder / "hello.wav").stat().st_size > 8_000
