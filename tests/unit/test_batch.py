"""Files of lines to speak: what is refused before work begins, and what a second run does again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sovits_service.commands.batch import BatchLine, read_lines, speak_lines
from sovits_service.errors import InvalidRequestError, SovitsError, SynthesisError


def write(folder: Path, text: str) -> Path:
    path = folder / "lines.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


class TestReadLines:
    def test_reads_every_field(self, tmp_path: Path) -> None:
        path = write(
            tmp_path,
            '{"text": "你好", "lang": "zh", "voice": "female_calm", "id": "greeting"}\n\n{"text": "two"}\n',
        )
        assert read_lines(path) == [
            BatchLine("greeting", "你好", "zh", "female_calm"),
            BatchLine("00003", "two"),
        ]

    def test_ids_may_be_numbers_and_words_of_any_script(self, tmp_path: Path) -> None:
        path = write(tmp_path, '{"text": "a", "id": 7}\n{"text": "b", "id": "第一章_1.2"}')
        assert [line.name for line in read_lines(path)] == ["7", "第一章_1.2"]

    def test_line_separators_inside_a_text_do_not_end_the_line(self, tmp_path: Path) -> None:
        assert read_lines(write(tmp_path, '{"text": "a\u2028b"}\n'))[0].text == "a\u2028b"

    def test_a_byte_order_mark_is_no_part_of_the_text(self, tmp_path: Path) -> None:
        assert read_lines(write(tmp_path, '\ufeff{"text": "a"}'))[0].text == "a"

    def test_an_empty_file_has_no_lines(self, tmp_path: Path) -> None:
        assert read_lines(write(tmp_path, "\n\n")) == []

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ('{"text": "a"', "not valid JSON"),
            ('"a"', "must be an object"),
            ("{}", "text must be a text that is not empty"),
            ('{"text": " "}', "text must be a text that is not empty"),
            ('{"text": 5}', "text must be a text that is not empty"),
            ('{"text": "a", "vocie": "x"}', "did you mean 'voice'"),
            ('{"text": "a", "lang": 1}', "lang must be a text"),
            ('{"text": "a", "voice": ["x"]}', "voice must be a text"),
            ('{"text": "a", "id": ""}', "id must be a text that is not empty"),
            ('{"text": "a", "id": true}', "id must be a text that is not empty"),
            ('{"text": "a", "id": "../../etc/cron.d/x"}', "id may hold letters"),
            ('{"text": "a", "id": "a/b"}', "id may hold letters"),
            ('{"text": "a", "id": ".hidden"}', "id may hold letters"),
            ('{"text": "a", "id": "a\\u0000b"}', "id may hold letters"),
            (f'{{"text": "a", "id": "{"x" * 300}"}}', "id may hold letters"),
        ],
    )
    def test_names_the_line_that_cannot_be_used(self, line: str, expected: str, tmp_path: Path) -> None:
        with pytest.raises(SovitsError, match=expected) as error:
            read_lines(write(tmp_path, f'{{"text": "fine"}}\n{line}\n'))
        assert "line 2" in str(error.value)

    def test_an_id_that_is_taken_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match=r"line 2: id 'a' is line 1's already"):
            read_lines(write(tmp_path, '{"text": "x", "id": "a"}\n{"text": "y", "id": "a"}\n'))

    def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            read_lines(tmp_path / "none.jsonl")


LINES = [BatchLine(name, f"text {name}") for name in ("a", "b", "c", "d")]


class TestSpeakLines:
    async def test_writes_one_file_a_line(self, tmp_path: Path) -> None:
        async def speak(line: BatchLine) -> bytes:
            return line.text.encode()

        result = await speak_lines(LINES, tmp_path / "out", ".wav", speak, at_once=2)
        assert (result.made, result.kept, result.failed) == (4, 0, {})
        written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert written == {f"{name}.wav": f"text {name}".encode() for name in "abcd"}

    async def test_a_second_run_makes_only_what_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "b.wav").write_bytes(b"of the first run")
        spoken: list[str] = []

        async def speak(line: BatchLine) -> bytes:
            spoken.append(line.name)
            return b"new"

        result = await speak_lines(LINES, tmp_path, ".wav", speak, at_once=1)
        assert spoken == ["a", "c", "d"]
        assert (result.made, result.kept) == (3, 1)
        assert (tmp_path / "b.wav").read_bytes() == b"of the first run"

    async def test_a_failure_fails_its_line_alone_and_leaves_no_file(self, tmp_path: Path) -> None:
        async def speak(line: BatchLine) -> bytes:
            if line.name == "b":
                raise SynthesisError("no tokens")
            return b"wave"

        result = await speak_lines(LINES, tmp_path, ".wav", speak, at_once=4)
        assert result.failed == {"b": "no tokens"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "c.wav", "d.wav"]

    async def test_keeps_to_the_number_at_once_and_uses_it(self, tmp_path: Path) -> None:
        running, most = 0, 0

        async def speak(line: BatchLine) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            running -= 1
            return b"wave"

        await speak_lines(LINES, tmp_path, ".wav", speak, at_once=2)
        assert most == 2

    async def test_an_interruption_leaves_whole_files_only(self, tmp_path: Path) -> None:
        second_began = asyncio.Event()

        async def speak(line: BatchLine) -> bytes:
            if line.name == "b":
                second_began.set()
                await asyncio.Event().wait()
            return b"whole"

        run = asyncio.ensure_future(speak_lines(LINES, tmp_path, ".wav", speak, at_once=1))
        await second_began.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.wav": b"whole"}
