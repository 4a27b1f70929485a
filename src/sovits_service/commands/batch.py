"""Synthesise JSON lines to files, one per line; a run can be interrupted and resumed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sovits_service.commands.offline import read_input_text
from sovits_service.config_file import refuse_unknown
from sovits_service.errors import InvalidRequestError, SovitsError
from sovits_service.storage.files import write_atomic

_KEYS = ("text", "lang", "voice", "id")
_ID = re.compile(r"[\w-][\w.-]{0,199}")  # a file name everywhere: no separator, no leading dot


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line of the file.

    Attributes:
        name: its `id`, which names the output; the line's number where it has none.
        lang, voice: None where the line leaves them to the command line.
    """

    name: str
    text: str
    lang: str | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How a run ended: counts, and what went wrong by the name of the line."""

    made: int
    kept: int
    failed: dict[str, str]


def read_lines(path: Path) -> list[BatchLine]:
    """Read and check the whole file, standard input for `-`, before any work is done.

    Raises:
        InvalidRequestError: a line is not an object with `text`, has a key of another type or an id that is taken.
        SettingsError: a line has an unknown key.
    """
    text = read_input_text(path)
    lines: list[BatchLine] = []
    numbers: dict[str, int] = {}
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        line = _read_line(content, f"{path}, line {number}", f"{number:05d}")
        if line.name in numbers:
            raise InvalidRequestError(f"{path}, line {number}: id {line.name!r} is line {numbers[line.name]}'s already")
        numbers[line.name] = number
        lines.append(line)
    return lines


def _read_line(content: str, where: str, default_name: str) -> BatchLine:
    try:
        values = json.loads(content)
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"{where}: is not valid JSON ({error.msg} at character {error.pos + 1})") from None
    if not isinstance(values, dict):
        raise InvalidRequestError(f'{where}: must be an object such as {{"text": "..."}}')
    refuse_unknown(values, _KEYS, where)
    name = values.get("id", default_name)
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    for key, value in (("text", values.get("text")), ("id", name)):
        if not isinstance(value, str) or not value.strip():
            raise InvalidRequestError(f"{where}: {key} must be a text that is not empty")
    if not _ID.fullmatch(name):
        raise InvalidRequestError(f"{where}: id may hold letters, digits, '.', '-' and '_' only, as it names the file")
    for key in ("lang", "voice"):
        if not isinstance(values.get(key), str | None):
            raise InvalidRequestError(f"{where}: {key} must be a text")
    return BatchLine(name, values["text"], values.get("lang"), values.get("voice"))


async def speak_lines(
    lines: Sequence[BatchLine],
    out_dir: Path,
    suffix: str,
    speak: Callable[[BatchLine], Awaitable[bytes]],
    *,
    at_once: int,
) -> BatchResult:
    """Speak the lines whose file is not there yet.

    Args:
        lines: as `read_lines` gives them.
        out_dir: where `<name><suffix>` goes; made where it is missing.
        suffix: with the dot.
        speak: makes the bytes of a line's file; a SovitsError fails that line alone.
        at_once: lines in work at the same time.
    """
    outputs = {line: out_dir / f"{line.name}{suffix}" for line in lines}
    missing = _without_file(outputs)
    failed: dict[str, str] = {}
    slots = asyncio.Semaphore(at_once)
    with tqdm(total=len(lines), initial=len(lines) - len(missing), unit="line") as progress:

        async def one(line: BatchLine) -> None:
            async with slots:
                try:
                    await asyncio.to_thread(write_atomic, outputs[line], await speak(line))
                except SovitsError as error:
                    failed[line.name] = str(error)
            progress.update()

        await asyncio.gather(*(one(line) for line in missing))
    return BatchResult(len(missing) - len(failed), len(lines) - len(missing), failed)


def _without_file(outputs: Mapping[BatchLine, Path]) -> list[BatchLine]:
    return [line for line, path in outputs.items() if not path.exists()]
