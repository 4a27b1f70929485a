"""The store of voice templates: one YAML file beside its clips; changes take effect at once."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sovits_service.errors import (
    ForbiddenError,
    InvalidRequestError,
    QuotaExceededError,
    ReferenceAudioError,
    UnknownVoiceError,
)
from sovits_service.storage.files import remove_leftovers, write_atomic
from sovits_service.storage.voices.clip import Clip, read_clip
from sovits_service.storage.voices.voice_template import (
    HIDDEN_TEMPLATE,
    MAX_TEMPLATE_BYTES,
    VOICE_ID,
    TemplateError,
    dump_template,
    parse_template,
)
from sovits_service.types import Voice

_CLIP_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".webm")
_UNKNOWN = "there is no voice of this id; GET /voices lists them"


@dataclass(frozen=True, slots=True)
class _Template:
    """A file as it was read: a voice, or what is wrong with it; with neither it hides the voice of a later root."""

    stamp: tuple[int, int, int]
    voice: Voice | None
    problem: str = ""

    @property
    def is_hidden(self) -> bool:
        return self.voice is None and not self.problem


class VoiceFolder:
    """Templates under one or more roots; an id in an earlier root hides the same id in a later one.

    Args:
        roots: folders of `<voice_id>.yaml` with the clips beside; new voices go to the first.
        max_voices: that `put` lets the first root have; files put there by hand all count.
        max_aux: clips that a voice may have beside its reference.
        max_clip_bytes: that are read of a clip.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        max_voices: int = 10_000,
        max_aux: int = 16,
        max_clip_bytes: int = 20 * 2**20,
    ) -> None:
        self.roots = tuple(roots)
        self._max_voices = max_voices
        self._max_aux = max_aux
        self._max_clip_bytes = max_clip_bytes
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
        if template is None or template.is_hidden:
            raise UnknownVoiceError(_UNKNOWN)
        if template.voice is None:
            raise UnknownVoiceError(f"the voice {voice_id} cannot be used: {template.problem}")
        return template.voice

    def reference_path(self, voice: Voice, emotion: str = "") -> Path:
        """Where the reference clip of the voice, or of one of its emotions, is.

        Raises:
            UnknownVoiceError: the voice or its clip has gone.
        """
        return self._clip(voice, voice.emotions[emotion].ref_audio if emotion else voice.ref_audio)

    def read_clips(self, voice: Voice, names: Collection[str] | None = None) -> dict[str, Clip]:
        """The content of the voice's clips by their names in the template.

        Args:
            names: of those that are wanted; None takes all, the reference first.

        Raises:
            UnknownVoiceError: the voice or one of the clips has gone.
            ReferenceAudioError: a clip cannot be read, or is too long to be one.
        """
        return {name: self._read_clip(voice, name) for name in voice.clip_names if names is None or name in names}

    def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the voices that `put` wrote for an owner take in the first root.

        Args:
            without: id of a voice that does not count.
        """
        root, used = self.roots[0], 0
        for file in _template_files(root):
            template = self._load(file)
            voice = template.voice if template is not None else None
            if voice is None or voice.owner != owner or voice.voice_id == without:
                continue
            clips = [name for name in set(voice.clip_names) if _made_for(voice.voice_id).fullmatch(name)]
            if clips:
                used += file.stat().st_size + sum((root / name).stat().st_size for name in clips)
        return used

    def put(self, voice: Voice, clips: Mapping[str, Clip], editor: str | None = None) -> Voice:
        """Write a voice: copies of its clips first, then the template that names them.

        Args:
            voice: as the client sent it, with the owner of a new voice; one that is there keeps its own.
            clips: for each name in `voice.clip_names` the content that it stands for.
            editor: name of the key that writes, which may change its own voices alone; None may change all.

        Returns:
            The voice with its owner and the names that its clips have in the store.

        Raises:
            InvalidRequestError: an id or a field that cannot be used.
            ForbiddenError: the voice is another owner's.
            QuotaExceededError: there are `max_voices` already.
            StorageError: the disk is full; nothing is left of the voice.
        """
        voice_id = _checked_id(voice.voice_id)
        if len(voice.aux_ref_audio) > self._max_aux:
            raise InvalidRequestError(
                f"aux_ref_audio_paths has {len(voice.aux_ref_audio)} clips; at most {self._max_aux} are accepted"
            )
        root = self.roots[0]
        with self._lock:
            self._refuse_twin(root, voice_id)
            known = self._require_owner(voice_id, editor)
            try:
                names = {name: self._keep_clip(root, voice_id, clips[name]) for name in voice.clip_names}
                stored = replace(
                    voice,
                    voice_id=voice_id,
                    owner=voice.owner if known is None else known.owner,
                    ref_audio=names[voice.ref_audio],
                    aux_ref_audio=tuple(names[name] for name in voice.aux_ref_audio),
                    timbre_ref_audio=names[voice.timbre_ref_audio] if voice.timbre_ref_audio else "",
                    emotions={
                        name: replace(emotion, ref_audio=names[emotion.ref_audio])
                        for name, emotion in voice.emotions.items()
                    },
                )
                write_atomic(root / f"{voice_id}.yaml", dump_template(stored).encode())
            except TemplateError as error:
                raise InvalidRequestError(f"the voice cannot be used: {error}") from None
            else:
                (root / f"{voice_id}.yml").unlink(missing_ok=True)
            finally:
                self._remove_unused_clips(root, voice_id)
        return stored

    def delete(self, voice_id: str, editor: str | None = None) -> None:
        """Delete the template from the first root, then the clips that were kept for it alone.

        The other roots, such as the packaged voices, are only read: what they have of this id is hidden by a template
        that says so in the first root, until `put` writes another or somebody removes that file.

        Args:
            editor: name of the key that deletes, which may delete its own voices alone; None may delete all.

        Raises:
            UnknownVoiceError: there is no such voice.
            ForbiddenError: the voice is another owner's.
        """
        voice_id = normal_id(voice_id)
        with self._lock:
            mark = self.hiding_template(voice_id, editor)
            root = self.roots[0]
            if mark is not None:
                write_atomic(root / f"{voice_id}.yaml", mark)
            else:
                (root / f"{voice_id}.yaml").unlink(missing_ok=True)
            (root / f"{voice_id}.yml").unlink(missing_ok=True)
            self._remove_unused_clips(root, voice_id)

    def hiding_template(self, voice_id: str, editor: str | None = None) -> bytes | None:
        """The template that takes this voice's place in the first root when it is deleted; None: no file at all.

        Raises:
            UnknownVoiceError: there is no such voice, or it is hidden already.
            ForbiddenError: the voice is another owner's than the editor's.
        """
        file = self._find(voice_id)
        template = self._load(file) if file is not None else None
        if template is None or template.is_hidden:
            raise UnknownVoiceError(_UNKNOWN)
        self._require_owner(voice_id, editor)
        is_elsewhere = any(self._file(root, voice_id) is not None for root in self.roots[1:])
        return HIDDEN_TEMPLATE.encode() if is_elsewhere else None

    def _require_owner(self, voice_id: str, editor: str | None) -> Voice | None:
        """The voice that is there, if it may be changed.

        What the operator put there, hid or broke is not a key's, nor is a voice that another key wrote.

        Raises:
            ForbiddenError: it may not.
        """
        file = self._find(voice_id)
        template = self._load(file) if file is not None else None
        if template is None:
            return None
        if editor is not None and (template.voice is None or template.voice.owner != editor):
            raise ForbiddenError(
                "the voice is not this key's: its owner may change it, or a key with the scope admin; use another id"
            )
        return template.voice

    def _scan(self) -> dict[str, _Template]:
        found: dict[str, _Template] = {}
        files: set[Path] = set()
        for root in self.roots:
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
                known = self._read_template(file, stamp)
                self._read[file] = known
        except FileNotFoundError:
            return None
        if known.voice is not None:
            missing = [name for name in known.voice.clip_names if _clip_under(file.parent, name) is None]
            if missing:
                return _Template(stamp, None, f"its clip {missing[0]} is not beside it")
        return known

    def _find(self, voice_id: str) -> Path | None:
        return next((file for root in self.roots if (file := self._file(root, voice_id)) is not None), None)

    def _file(self, root: Path, voice_id: str) -> Path | None:
        voice_id = normal_id(voice_id)
        if not VOICE_ID.fullmatch(voice_id):
            return None
        for suffix in (".yaml", ".yml"):
            file = root / f"{voice_id}{suffix}"
            if file.is_file():
                return file
        return None

    def _read_clip(self, voice: Voice, name: str) -> Clip:
        path = self._clip(voice, name)
        try:
            return read_clip(path, self._max_clip_bytes)
        except ReferenceAudioError:
            self._clip(voice, name)  # gone meanwhile: that is told as what it is
            raise

    def _clip(self, voice: Voice, name: str) -> Path:
        template = self._find(voice.voice_id)
        clip = _clip_under(template.parent, name) if template is not None else None
        if clip is None:
            raise UnknownVoiceError(f"the voice {voice.voice_id} lacks its clip; restore the clip, or delete the voice")
        return clip

    def _keep_clip(self, root: Path, voice_id: str, clip: Clip) -> str:
        suffix = clip.suffix if clip.suffix in _CLIP_SUFFIXES else ".wav"
        name = f"{voice_id}.{clip.content_hash[:16]}{suffix}"
        if not (root / name).is_file():
            write_atomic(root / name, clip.data)
        return name

    def _remove_unused_clips(self, root: Path, voice_id: str) -> None:
        """Delete the clips that `put` made for this voice and that no template in the folder names."""
        own = _made_for(voice_id)
        candidates = {file.name: file for file in _files_in(root) if own.fullmatch(file.name)}
        for file in _template_files(root):
            if not candidates:
                break
            template = self._load(file)
            if template is None or template.is_hidden:
                continue
            if template.voice is not None:
                used = set(template.voice.clip_names)
            else:  # it may be mended: whatever its text names stays
                text = _read_text(file)
                used = {name for name in candidates if text is None or name in text}
            candidates = {name: clip for name, clip in candidates.items() if name not in used}
        for clip in candidates.values():
            clip.unlink(missing_ok=True)
        remove_leftovers(root)

    def _refuse_twin(self, root: Path, voice_id: str) -> None:
        """Refuse an id that a file system without case would take for another's, and one voice too many."""
        ids = {file.stem for file in _template_files(root)}
        if voice_id in ids:
            return
        if any(known.casefold() == voice_id.casefold() for known in ids):
            raise InvalidRequestError("there is a voice whose id differs in upper and lower case only; use another id")
        if len(ids) >= self._max_voices:
            raise QuotaExceededError(f"there are {len(ids):,} voices, which is the limit; delete some first")

    def _read_template(self, file: Path, stamp: tuple[int, int, int]) -> _Template:
        try:
            if stamp[1] > MAX_TEMPLATE_BYTES:
                return _Template(stamp, None, f"the file is larger than {MAX_TEMPLATE_BYTES // 1024} KiB")
            voice = parse_template(file.stem, file.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            return _Template(stamp, None, "the file is not UTF-8")
        except PermissionError:
            return _Template(stamp, None, "the file cannot be read")
        except TemplateError as error:
            return _Template(stamp, None, str(error))
        if voice is not None and len(voice.aux_ref_audio) > self._max_aux:
            count = len(voice.aux_ref_audio)
            return _Template(stamp, None, f"aux_ref_audio has {count} clips; at most {self._max_aux} are accepted")
        return _Template(stamp, voice)


def _made_for(voice_id: str) -> re.Pattern[str]:
    """The names of the clips that `put` makes for a voice."""
    return re.compile(re.escape(voice_id) + r"\.[0-9a-f]{16}\.[a-z0-9]+")


def _files_in(root: Path) -> list[Path]:
    return list(root.iterdir()) if root.is_dir() else []


def _template_files(root: Path) -> Iterator[Path]:
    for file in sorted(_files_in(root)):
        if file.suffix in (".yaml", ".yml") and not file.name.startswith(".") and file.is_file():
            yield file


def _read_text(file: Path) -> str | None:
    """A template as text, whatever is in it; None where it cannot be read, or is too large to be one."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_TEMPLATE_BYTES + 1)
    except OSError:
        return None
    return data.decode(errors="replace") if len(data) <= MAX_TEMPLATE_BYTES else None


def _clip_under(root: Path, name: str) -> Path | None:
    try:
        clip = (root / name).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return clip if clip.is_file() and clip.is_relative_to(root.resolve()) else None


def normal_id(voice_id: str) -> str:
    """The id as `put` writes it: an accent may be a character of its own in what a client sends."""
    return unicodedata.normalize("NFC", voice_id)


def _checked_id(voice_id: str) -> str:
    normal = normal_id(voice_id)
    if not VOICE_ID.fullmatch(normal) or len(normal.encode(errors="replace")) > 200:
        raise InvalidRequestError("a voice's id must be 1 to 64 letters, digits, '-' and '_'")
    return normal
