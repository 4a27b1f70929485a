"""Voice templates: one YAML file beside its clips in, checked `Voice`s out, and back; changes count at once."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sovits_service.errors import ForbiddenError, InvalidRequestError, UnknownVoiceError
from sovits_service.storage.files import remove_leftovers, write_atomic
from sovits_service.storage.voice_template import (
    MAX_TEMPLATE_BYTES,
    VOICE_ID,
    TemplateError,
    dump_template,
    parse_template,
)
from sovits_service.types import Voice

_CLIP_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".webm")
_MAX_TEMPLATES = 10_000


@dataclass(frozen=True, slots=True)
class _Template:
    """A file as it was read: a voice, or what is wrong with it."""

    stamp: tuple[int, int, int]
    voice: Voice | None
    problem: str = ""


class VoiceStore:
    """Templates under one or more roots; an id in an earlier root hides the same id in a later one.

    Args:
        roots: folders of `<voice_id>.yaml` with the clips beside; new voices go to the first.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._read: dict[Path, _Template] = {}
        self._lock = threading.Lock()

    def list(self) -> list[Voice]:
        """All usable voices by id; templates that cannot be used are left out, see `problems`."""
        templates = self._scan()
        return [voice for voice_id in sorted(templates) if (voice := templates[voice_id].voice) is not None]

    def problems(self) -> dict[str, str]:
        """What is wrong, by the id of each voice that cannot be used."""
        return {voice_id: entry.problem for voice_id, entry in sorted(self._scan().items()) if entry.problem}

    def get(self, voice_id: str) -> Voice:
        """The voice as its file says now.

        Raises:
            UnknownVoiceError: no such voice, or a template that cannot be used; then the message says why.
        """
        file = self._find(voice_id)
        template = self._load(file) if file is not None else None
        if template is None:
            raise UnknownVoiceError("there is no voice of this id; GET /voices lists them")
        if template.voice is None:
            raise UnknownVoiceError(f"the voice {voice_id} cannot be used: {template.problem}")
        return template.voice

    def reference_path(self, voice: Voice) -> Path:
        """Where the voice's reference clip is.

        Raises:
            UnknownVoiceError: the voice or its clip has gone.
        """
        return self._clip(voice, voice.ref_audio)

    def aux_reference_paths(self, voice: Voice) -> tuple[Path, ...]:
        """Where the further clips are, in order.

        Raises:
            UnknownVoiceError: the voice or one of the clips has gone.
        """
        return tuple(self._clip(voice, name) for name in voice.aux_ref_audio)

    def put(self, voice: Voice, clips: Mapping[str, Path]) -> Voice:
        """Writes a voice: copies of its clips first, then the template that names them.

        Args:
            voice: as the client sent it.
            clips: for each name in `ref_audio` and `aux_ref_audio` the file that it stands for.

        Returns:
            The voice with the names that its clips have in the store.

        Raises:
            InvalidRequestError: an id or a field that cannot be used.
        """
        voice_id = _checked_id(voice.voice_id)
        root = self._roots[0]
        with self._lock:
            self._refuse_twin(root, voice_id)
            names = {name: self._keep_clip(root, voice_id, clips[name]) for name in _clip_names(voice)}
            stored = replace(
                voice,
                voice_id=voice_id,
                ref_audio=names[voice.ref_audio],
                aux_ref_audio=tuple(names[name] for name in voice.aux_ref_audio),
            )
            try:
                text = dump_template(stored)
            except TemplateError as error:
                self._remove_unused_clips(root, voice_id)
                raise InvalidRequestError(f"the voice cannot be used: {error}") from None
            write_atomic(root / f"{voice_id}.yaml", text.encode())
            (root / f"{voice_id}.yml").unlink(missing_ok=True)
            self._remove_unused_clips(root, voice_id)
        return stored

    def delete(self, voice_id: str) -> None:
        """Deletes the template from the first root, then the clips that were kept for it alone.

        The other roots, such as the packaged voices, are only read; what they have of this id shows again.

        Raises:
            UnknownVoiceError: there is no such voice.
            ForbiddenError: it lies in another root.
        """
        with self._lock:
            file, *others = (self._file(root, voice_id) for root in self._roots)
            if file is not None:
                file.unlink(missing_ok=True)
                self._remove_unused_clips(file.parent, voice_id)
            elif any(others):
                raise ForbiddenError("this voice is in a folder that is only read; remove it there")
            else:
                raise UnknownVoiceError("there is no voice of this id; GET /voices lists them")

    def _scan(self) -> dict[str, _Template]:
        found: dict[str, _Template] = {}
        files: set[Path] = set()
        for root in self._roots:
            for file in _template_files(root):
                files.add(file)
                template = self._load(file)
                if template is not None:
                    found.setdefault(file.stem, template)
        for gone in self._read.keys() - files:
            self._read.pop(gone, None)
        return found

    def _load(self, file: Path) -> _Template | None:
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._read.get(file)
            if known is None or known.stamp != stamp:
                known = _read_template(file, stamp)
                self._read[file] = known
        except FileNotFoundError:
            return None
        if known.voice is not None:
            missing = [name for name in _clip_names(known.voice) if _clip_under(file.parent, name) is None]
            if missing:
                return _Template(stamp, None, f"its clip {missing[0]} is not beside it")
        return known

    def _find(self, voice_id: str) -> Path | None:
        return next((file for root in self._roots if (file := self._file(root, voice_id)) is not None), None)

    def _file(self, root: Path, voice_id: str) -> Path | None:
        if not VOICE_ID.fullmatch(voice_id):
            return None
        for suffix in (".yaml", ".yml"):
            file = root / f"{voice_id}{suffix}"
            if file.is_file():
                return file
        return None

    def _clip(self, voice: Voice, name: str) -> Path:
        template = self._find(voice.voice_id)
        clip = _clip_under(template.parent, name) if template is not None else None
        if clip is None:
            raise UnknownVoiceError(f"the voice {voice.voice_id} has lost its clip; put it back, or delete the voice")
        return clip

    def _keep_clip(self, root: Path, voice_id: str, source: Path) -> str:
        data = source.read_bytes()
        suffix = source.suffix.lower() if source.suffix.lower() in _CLIP_SUFFIXES else ".wav"
        name = f"{voice_id}.{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        if not (root / name).is_file():
            write_atomic(root / name, data)
        return name

    def _remove_unused_clips(self, root: Path, voice_id: str) -> None:
        """Deletes the clips that `put` made for this voice and that no template in the folder names."""
        used: set[str] = set()
        for file in _template_files(root):
            template = self._load(file)
            if template is not None and template.voice is not None:
                used.update(_clip_names(template.voice))
            elif file.stem == voice_id:
                return  # the template cannot be read: what it names is not known
        own = re.compile(re.escape(voice_id) + r"\.[0-9a-f]{16}\.[a-z0-9]+")
        for clip in list(root.iterdir()) if root.is_dir() else []:
            if own.fullmatch(clip.name) and clip.name not in used:
                clip.unlink(missing_ok=True)
        remove_leftovers(root)

    def _refuse_twin(self, root: Path, voice_id: str) -> None:
        twin = next((f.stem for f in _template_files(root) if f.stem.casefold() == voice_id.casefold()), voice_id)
        if twin != voice_id:
            raise InvalidRequestError("there is a voice whose id differs in upper and lower case only; use another id")


def _template_files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    files = (file for file in root.iterdir() if file.suffix in (".yaml", ".yml") and not file.name.startswith("."))
    for _, file in zip(range(_MAX_TEMPLATES), sorted(files), strict=False):
        if file.is_file():
            yield file


def _read_template(file: Path, stamp: tuple[int, int, int]) -> _Template:
    try:
        if stamp[1] > MAX_TEMPLATE_BYTES:
            return _Template(stamp, None, f"the file is larger than {MAX_TEMPLATE_BYTES // 1024} KiB")
        return _Template(stamp, parse_template(file.stem, file.read_text(encoding="utf-8")))
    except UnicodeDecodeError:
        return _Template(stamp, None, "the file is not UTF-8")
    except PermissionError:
        return _Template(stamp, None, "the file cannot be read")
    except TemplateError as error:
        return _Template(stamp, None, str(error))


def _clip_names(voice: Voice) -> tuple[str, ...]:
    return (voice.ref_audio, *voice.aux_ref_audio)


def _clip_under(root: Path, name: str) -> Path | None:
    try:
        clip = (root / name).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return clip if clip.is_file() and clip.is_relative_to(root.resolve()) else None


def _checked_id(voice_id: str) -> str:
    normal = unicodedata.normalize("NFC", voice_id)
    if not VOICE_ID.fullmatch(normal) or len(normal.encode(errors="replace")) > 200:
        raise InvalidRequestError("a voice's id must be 1 to 64 letters, digits, '-' and '_'")
    return normal
