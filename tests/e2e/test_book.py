"""`sovits-service book` in a process of its own, with tiny models."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from pathlib import Path

import av
import pytest

from tests.api.job_files import epub, png
from tests.e2e.conftest import COMMAND, environment, run_command
from tests.e2e.tiny_server import clip, write_tiny

TEXT = "".join(f"# Part {chapter}\n\nIt was spring.\n\nIt rained.\n\nThe end.\n\n" for chapter in range(1, 9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tiny models, and a voice."""
    write_tiny(tmp_path)
    (tmp_path / "voices/eve.wav").write_bytes(clip(0))
    (tmp_path / "voices/eve.yaml").write_text("ref_audio: eve.wav\n", encoding="utf-8")
    (tmp_path / "story.md").write_text(TEXT, encoding="utf-8")
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    [config] = folder.glob("pack/*.yaml")
    variables = {"SOVITS_BUNDLED_VOICES": "false", "SOVITS_MAX_SEQ_TOKENS": "80"}
    return subprocess.Popen(
        [*COMMAND, "book", *arguments, "-c", str(config), "--voice", "eve"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | variables,
    )


def book(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def finished(parts: Path) -> set[int]:
    """The fragments that are stored as spoken."""
    with contextlib.closing(sqlite3.connect(parts / "jobs-v1.sqlite3")) as database:
        return {number for (number,) in database.execute("SELECT number FROM fragments WHERE state = 'done'")}


def test_a_book_that_was_killed_goes_on_and_has_its_chapters(folder: Path) -> None:
    (folder / "cover.png").write_bytes(png())
    arguments = ("story.md", "-o", "story.m4b", "--lang", "en", "--cover", "cover.png", "--subtitles", "srt")
    parts = folder / "story.m4b.parts"
    killed = start(folder, *arguments, "--jobs", "1")
    while len(kept := list(parts.glob("*/*.flac"))) < 4:
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert len(kept) < 32
    code, _, err = book(folder, *arguments[:-2])
    assert (code, "other options" in err) == (2, True)
    started = time.time_ns()
    times = {file: file.stat().st_mtime_ns for file in kept if int(file.stem) in finished(parts)}
    assert len(times) >= 3  # all but the one that was being stored
    again = start(folder, *arguments)
    seen = dict(times)
    while again.poll() is None:
        for file in times:
            if file.exists():
                seen[file] = file.stat().st_mtime_ns
        time.sleep(0.01)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "32 fragments, 0 left out" in out
    assert seen == times
    assert started > max(times.values())
    assert not parts.exists()
    with av.open(str(folder / "story.m4b")) as container:
        titles = [chapter["metadata"]["title"] for chapter in container.chapters()]
        assert titles == [f"Part {chapter}" for chapter in range(1, 9)]
        assert container.metadata["title"] == "story"
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == [png()]
    assert (folder / "story.srt").read_text(encoding="utf-8").count("-->") >= 32


def test_a_line_that_cannot_be_spoken_is_told(folder: Path) -> None:
    (folder / "mixed.txt").write_text("It rained.\n중국\n", encoding="utf-8")
    code, out, err = book(folder, "mixed.txt", "-o", "mixed.mp3", "--lang", "en")
    assert code == 1
    assert "1 fragments, 1 left out" in out
    assert "fragment 2: " in err
    assert (folder / "mixed.mp3").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["story.md", "-o", "story.exe"], "-o needs a file that ends in one of"),
        (["none.md", "-o", "story.mp3"], "none.md: cannot be read"),
        (["story.md", "-o", "story.mp3", "--cover", "story.md"], "neither a PNG nor a JPEG"),
        (["story.md", "-o", "story.mp3", "--voice", "adam"], "there is no voice 'adam'"),
        (["bad.epub", "-o", "story.mp3"], "chapter 3 of its spine is missing"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_model_is_loaded(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "bad.epub").write_bytes(epub({"OEBPS/text/more.xhtml": None}))
    [config] = folder.glob("pack/*.yaml")
    voice = [] if "--voice" in arguments else ["--voice", "eve"]
    variables = {"SOVITS_BUNDLED_VOICES": "false"}
    result = run_command(folder, "book", *arguments, "-c", str(config), *voice, variables=variables)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert not list(folder.glob("*.parts"))
