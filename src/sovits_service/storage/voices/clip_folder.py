"""A folder of uploaded clips, named by content, and read access to the clips under further roots."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sovits_service.errors import ForbiddenError, InvalidRequestError
from sovits_service.storage.files import make_private_folder, remove_leftovers, write_atomic
from sovits_service.storage.voices.clip import Clip, read_clip
from sovits_service.storage.voices.clip_names import find_under, spellings
from sovits_service.storage.voices.upload_details import UploadDetails

UPLOADS_PREFIX = "uploads/"
_UPLOAD_NAME = re.compile(r"(?:uploads/)?([0-9a-f]{64})(\.[a-z0-9]{1,5})?", re.ASCII)
_DETAILS_NAME = re.compile(r"([0-9a-f]{64})(?:\.([A-Za-z0-9._-]{1,64}))?\.json", re.ASCII)
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".webm")
_DETAILS_GRACE_S = 3600.0  # another process may be about to write the clip
_NOT_FOUND = (
    "the reference is not an upload's id nor a file in an allowed folder; upload it with /upload_ref, "
    "or put it into a voices folder"
)
_NOT_FOUND_OF_WINDOWS = (
    "the reference is a path of a Windows machine, and no file of that name is in an allowed folder here; upload it "
    "with /upload_ref, or put it into a voices folder"
)


@dataclass(frozen=True, slots=True)
class StoredClip:
    """Where an upload went.

    Attributes:
        reference_id: SHA-256 of the content.
        path: what a request may name it by, `uploads/<id>.wav`.
    """

    reference_id: str
    path: str
    file: Path
    size_bytes: int


class ClipFolder:
    """Uploads of a limited life, and read access to the clips under further roots.

    An upload is `<id>.wav`, and for each owner `<id>.<owner>.json` with what that owner said of it: owners never write
    the same file.

    Args:
        upload_dir: where uploads live; made at the first one.
        roots: folders that a request may name a file in.
        ttl_s: life of an upload; None keeps it.
        is_private: whether only who uploaded a clip may use it; else everybody who knows its id.
        max_clip_bytes: that are read of a file.
        clock: seconds since the epoch, as file times have them.
    """

    def __init__(
        self,
        upload_dir: Path,
        roots: Sequence[Path],
        *,
        ttl_s: float | None = 24 * 3600.0,
        is_private: bool = False,
        max_clip_bytes: int = 20 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upload_dir = upload_dir
        self._roots = tuple(roots)
        self._ttl_s = ttl_s
        self.is_private = is_private
        self._max_clip_bytes = max_clip_bytes
        self._clock = clock
        self._lock = threading.Lock()

    def add(
        self, data: bytes, suffix: str = ".wav", *, owner: str = "", details: UploadDetails | None = None
    ) -> StoredClip:
        """Keep a clip under the hash of its content; the same content again restarts its lifetime.

        Args:
            data: the file's bytes, already checked.
            suffix: what the bytes are, by the service's own knowledge.
            owner: name of the API key.
            details: what is said of it; where nothing is said, what this owner said before stays.

        Raises:
            StorageError: the disk is full; nothing is left of the upload.
        """
        if suffix not in _SUFFIXES:
            raise ValueError(f"no reference is kept as {suffix!r}")
        reference_id = hashlib.sha256(data).hexdigest()
        file = self._upload_dir / f"{reference_id}{suffix}"
        make_private_folder(self._upload_dir)
        with self._lock:
            said = self._details_file(reference_id, owner)
            is_new = not said.is_file()
            merged = (details or UploadDetails()).over(self._read_details(reference_id, owner))
            # Before the clip, which nobody would own without it.
            write_atomic(said, merged.dump())
            try:
                if not _holds(file, data):
                    write_atomic(file, data)
                now = self._clock()
                os.utime(file, (now, now))
            except BaseException:
                if is_new:
                    said.unlink(missing_ok=True)
                raise
        return StoredClip(reference_id, f"{UPLOADS_PREFIX}{file.name}", file, len(data))

    def adopt(self, data: bytes, owner: str, details: bytes | None, uploaded_at_s: float) -> None:
        """Keep a copy of what another replica took in, with the life that is left to it.

        Args:
            details: the other replica's file of what the owner said; None where this owner did not upload it.
        """
        reference_id = hashlib.sha256(data).hexdigest()
        make_private_folder(self._upload_dir)
        with self._lock:
            if details is not None:
                write_atomic(self._details_file(reference_id, owner), details)
            file = self._upload_dir / f"{reference_id}.wav"
            write_atomic(file, data)
            os.utime(file, (uploaded_at_s, uploaded_at_s))

    def shrink(self, max_bytes: int) -> int:
        """Delete the oldest uploads until the rest takes no more than `max_bytes`; returns how many went."""
        with self._lock:
            said: dict[str, list[Path]] = {}
            for file, reference_id, _ in self._details_files():
                said.setdefault(reference_id, []).append(file)
            clips = []
            for file in self._upload_files():
                status = file.stat()
                size = status.st_size + sum(_size(entry) for entry in said.get(file.stem, ()))
                clips.append((status.st_mtime, size, file))
            excess = sum(size for _, size, _ in clips) - max_bytes
            removed = 0
            for _, size, file in sorted(clips):
                if excess <= 0:
                    break
                for path in (file, *said.get(file.stem, ())):
                    path.unlink(missing_ok=True)
                excess -= size
                removed += 1
        return removed

    def details(self, name: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload; empty where nothing was said."""
        reference_id = upload_id(name)
        return self._read_details(reference_id, owner) if reference_id is not None else UploadDetails()

    def is_owner(self, reference_id: str, owner: str) -> bool:
        """Whether `owner` uploaded a clip, as far as this folder knows."""
        return self._details_file(reference_id, owner).is_file()

    def read(self, name: str, owner: str | None = None) -> Clip:
        """The bytes of the file that `resolve` finds.

        Raises:
            InvalidRequestError, ForbiddenError: as `resolve`.
            ReferenceAudioError: it has gone meanwhile, or is longer than a clip may be.
        """
        return read_clip(self.resolve(name, owner), self._max_clip_bytes)

    def resolve(self, name: str, owner: str | None = None) -> Path:
        """The file that a request means: an upload's id or path, or a clip under an allowed root.

        A relative name is looked for from the working directory, in each root, and beside each root (so that
        `voices/clip.wav` means the clip in the root `voices`). Links are followed, and must end under a root. Of a path
        of a Windows machine as much of its end counts as names a file here.

        Args:
            owner: whose uploads it may be, where uploads are private; None is everybody's.

        Raises:
            InvalidRequestError: anything else, in the same words whether or not there is such a file.
            ForbiddenError: another owner's upload.
        """
        reference_id = upload_id(name)
        file = self._live_upload(reference_id) if reference_id is not None else None
        if file is None:
            roots, names = (*self._roots, self._upload_dir), spellings(name)
            file = next((found for each in names if (found := find_under(each, roots)) is not None), None)
            if file is None or (self._is_under_uploads(file) and not self._is_live_upload(file)):
                raise InvalidRequestError(_NOT_FOUND if names == [name] else _NOT_FOUND_OF_WINDOWS)
        if self.is_private and owner is not None and self._is_under_uploads(file):
            self.require_owner(self.is_owner(file.stem, owner))
        return file

    @staticmethod
    def require_owner(is_owner: bool) -> None:
        """Raise a ForbiddenError for an upload of another key."""
        if not is_owner:
            raise ForbiddenError(
                "the upload belongs to another key; upload the clip with this one, or have the operator set "
                "uploads.access to id"
            )

    def usage_bytes(self, owner: str = "", *, without: str = "") -> int:
        """What the living uploads of an owner take on the disk, with what is said of them.

        Args:
            without: id of an upload that does not count.
        """
        used = 0
        for file, reference_id, name in self._details_files():
            clip = self._live_upload(reference_id) if name == owner and reference_id != without else None
            if clip is not None:
                used += _size(file) + _size(clip)
        return used

    def sweep(self) -> int:
        """Delete expired uploads and what killed processes left; returns how many uploads went."""
        if not self._upload_dir.is_dir():
            return 0
        remove_leftovers(self._upload_dir)
        removed = 0
        with self._lock:
            for file in list(self._upload_files()):
                if self._is_expired_upload(file):
                    file.unlink(missing_ok=True)
                    removed += 1
            alive = {file.stem for file in self._upload_files()}
            for file, reference_id, _ in list(self._details_files()):
                if reference_id not in alive and _modified_s(file) + _DETAILS_GRACE_S <= self._clock():
                    file.unlink(missing_ok=True)
        return removed

    def _live_upload(self, reference_id: str) -> Path | None:
        for suffix in _SUFFIXES:
            file = self._upload_dir / f"{reference_id}{suffix}"
            if file.is_file() and not file.is_symlink() and not self._is_expired_upload(file):
                return file
        return None

    def _upload_files(self) -> Iterator[Path]:
        if self._upload_dir.is_dir():
            for file in self._upload_dir.iterdir():
                if file.suffix in _SUFFIXES and _UPLOAD_NAME.fullmatch(file.name):
                    yield file

    def _details_files(self) -> Iterator[tuple[Path, str, str]]:
        """Each file of details with the id and the owner that its name says."""
        if self._upload_dir.is_dir():
            for file in self._upload_dir.iterdir():
                names = details_names(file.name)
                if names is not None:
                    yield file, *names

    def _is_under_uploads(self, file: Path) -> bool:
        return file.parent.resolve() == self._upload_dir.resolve()

    def _is_live_upload(self, file: Path) -> bool:
        is_upload = file.suffix in _SUFFIXES and _UPLOAD_NAME.fullmatch(file.name) is not None
        return is_upload and not self._is_expired_upload(file)

    def _is_expired_upload(self, file: Path) -> bool:
        return self._ttl_s is not None and _modified_s(file) + self._ttl_s <= self._clock()

    def _details_file(self, reference_id: str, owner: str) -> Path:
        return self._upload_dir / details_name(reference_id, owner)

    def _read_details(self, reference_id: str, owner: str) -> UploadDetails:
        try:
            return UploadDetails.load(self._details_file(reference_id, owner).read_bytes())
        except OSError:
            return UploadDetails()


def details_name(reference_id: str, owner: str) -> str:
    """The name of the file of what an owner said of an upload.

    Raises:
        ValueError: an owner that no file can be named by.
    """
    name = f"{reference_id}.{owner}.json" if owner else f"{reference_id}.json"
    if _DETAILS_NAME.fullmatch(name) is None:
        raise ValueError("not the name of an owner")
    return name


def details_names(name: str) -> tuple[str, str] | None:
    """The id and the owner in the name of a file of details."""
    match = _DETAILS_NAME.fullmatch(name)
    return (match[1], match[2] or "") if match is not None else None


def _holds(file: Path, data: bytes) -> bool:
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except OSError:
        return False


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _modified_s(file: Path) -> float:
    """When a file was written; the beginning of time where it has gone."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def upload_id(name: str) -> str | None:
    """The id in what may be the name of an upload."""
    match = _UPLOAD_NAME.fullmatch(name)
    return match[1] if match is not None else None
