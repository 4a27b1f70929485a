"""Uploaded clips in, content-hash names out; a name that a client sends in, a file under an allowed root out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sovits_service.errors import InvalidRequestError, QuotaExceededError
from sovits_service.storage.files import remove_leftovers, write_atomic

UPLOADS_PREFIX = "uploads/"
_UPLOAD_NAME = re.compile(r"(?:uploads/)?([0-9a-f]{64})(\.[a-z0-9]{1,5})?", re.ASCII)
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".webm")
_MAX_NAME_BYTES = 1024
_NOT_FOUND = (
    "the reference is not an upload's id nor a file in an allowed folder; upload it with /upload_ref, "
    "or put it into a voices folder"
)


@dataclass(frozen=True, slots=True)
class UploadDetails:
    """What an uploader said about a clip.

    Attributes:
        consent: who agreed to the use of the voice, in the uploader's words.
    """

    prompt_text: str = ""
    prompt_lang: str = ""
    consent: str = ""


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """Where an upload went.

    Attributes:
        reference_id: SHA-256 of the content.
        path: what a request may name it by, `uploads/<id>.wav`.
    """

    reference_id: str
    path: str
    file: Path
    size_bytes: int


class ReferenceStore:
    """Uploads of a limited life, and read access to the clips under further roots.

    Args:
        upload_dir: where uploads live; made at the first one.
        roots: folders that a request may name a file in.
        ttl_s: life of an upload; None keeps it.
        quota_bytes: what one owner's uploads may take together; None is no limit.
        clock: seconds since the epoch, as file times have them.
    """

    def __init__(
        self,
        upload_dir: Path,
        roots: Sequence[Path],
        *,
        ttl_s: float | None = 24 * 3600.0,
        quota_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upload_dir = upload_dir
        self._roots = tuple(roots)
        self._ttl_s = ttl_s
        self._quota_bytes = quota_bytes
        self._clock = clock
        self._lock = threading.Lock()

    def add(
        self, data: bytes, suffix: str = ".wav", *, owner: str = "", details: UploadDetails | None = None
    ) -> StoredUpload:
        """Keeps a clip under the hash of its content; the same content again starts its life anew.

        Args:
            data: the file's bytes, already checked.
            suffix: what the bytes are, by the service's own knowledge.
            owner: name of the API key, for the quota.

        Raises:
            QuotaExceededError: the owner's uploads would take more than the quota.
        """
        if suffix not in _SUFFIXES:
            raise ValueError(f"no reference is kept as {suffix!r}")
        reference_id = hashlib.sha256(data).hexdigest()
        file = self._upload_dir / f"{reference_id}{suffix}"
        with self._lock:
            owners = self._owners(reference_id)
            if self._quota_bytes is not None and owner not in owners:
                self._check_quota(owner, len(data))
            owners[owner] = details or UploadDetails()
            document = {name: asdict(entry) for name, entry in owners.items()}
            write_atomic(self._details_file(reference_id), json.dumps(document, ensure_ascii=False).encode())
            write_atomic(file, data)
            now = self._clock()
            os.utime(file, (now, now))
        return StoredUpload(reference_id, f"{UPLOADS_PREFIX}{file.name}", file, len(data))

    def adopt(self, data: bytes, details: bytes | None, uploaded_at_s: float) -> None:
        """Keeps a copy of what another replica took in, with the life that is left to it.

        Args:
            details: the other replica's details file.
        """
        reference_id = hashlib.sha256(data).hexdigest()
        with self._lock:
            if details is not None:
                write_atomic(self._details_file(reference_id), details)
            file = self._upload_dir / f"{reference_id}.wav"
            write_atomic(file, data)
            os.utime(file, (uploaded_at_s, uploaded_at_s))

    def details_file(self, reference_id: str) -> bytes | None:
        """What all owners said of an upload, as `adopt` takes it."""
        try:
            return self._details_file(reference_id).read_bytes()
        except FileNotFoundError:
            return None

    def shrink(self, max_bytes: int) -> int:
        """Deletes the oldest uploads until the rest takes no more than `max_bytes`; returns how many went."""
        files = [(file.stat().st_mtime, file.stat().st_size, file) for file in self._upload_files()]
        excess = sum(size for _, size, _ in files) - max_bytes
        removed = 0
        for _, size, file in sorted(files):
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            self._details_file(file.stem).unlink(missing_ok=True)
            excess -= size
            removed += 1
        return removed

    def details(self, reference_id: str, owner: str = "") -> UploadDetails:
        """What `owner` said of an upload; empty where nothing was said."""
        match = _UPLOAD_NAME.fullmatch(reference_id)
        return self._owners(match[1]).get(owner, UploadDetails()) if match else UploadDetails()

    def resolve(self, name: str) -> Path:
        """The file that a request means: an upload's id or path, or a clip under an allowed root.

        A relative name is looked for from the working directory, in each root, and beside each root (so that
        `voices/clip.wav` means the clip in the root `voices`). Links are followed, and must end under a root.

        Raises:
            InvalidRequestError: anything else, in the same words whether or not there is such a file.
        """
        upload = _UPLOAD_NAME.fullmatch(name)
        if upload is not None:
            file = self._live_upload(upload[1])
            if file is not None:
                return file
        found = find_under(name, (*self._roots, self._upload_dir))
        if found is None or self._is_expired_upload(found):
            raise InvalidRequestError(_NOT_FOUND)
        return found

    def usage_bytes(self, owner: str = "") -> int:
        """What the living uploads of an owner take on the disk."""
        return sum(
            file.stat().st_size
            for file in self._upload_files()
            if owner in self._owners(file.stem) and not self._is_expired_upload(file)
        )

    def sweep(self) -> int:
        """Deletes expired uploads and what killed processes left; returns how many uploads went."""
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
            for details in self._upload_dir.glob("*.json"):
                if details.stem not in alive:
                    details.unlink(missing_ok=True)
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

    def _is_expired_upload(self, file: Path) -> bool:
        if self._ttl_s is None or file.parent.resolve() != self._upload_dir.resolve():
            return False
        try:
            return file.stat().st_mtime + self._ttl_s <= self._clock()
        except FileNotFoundError:
            return True

    def _details_file(self, reference_id: str) -> Path:
        return self._upload_dir / f"{reference_id}.json"

    def _owners(self, reference_id: str) -> dict[str, UploadDetails]:
        try:
            document = json.loads(self._details_file(reference_id).read_bytes())
            return {name: UploadDetails(**entry) for name, entry in document.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}

    def _check_quota(self, owner: str, size_bytes: int) -> None:
        assert self._quota_bytes is not None
        used = self.usage_bytes(owner)
        if used + size_bytes > self._quota_bytes:
            raise QuotaExceededError(
                f"the uploads of this key take {used / 2**20:.1f} of {self._quota_bytes / 2**20:.1f} MiB; "
                "wait until some expire, or ask for a larger quota"
            )


def find_under(name: str, roots: Sequence[Path]) -> Path | None:
    """The regular file under one of the roots that a client's name means, if there is one.

    A relative name is looked for from the working directory, in each root, and beside each root.
    """
    if not _is_harmless(name):
        return None
    path = Path(name)
    for root in roots:
        for candidate in (path,) if path.is_absolute() else (path, root / path, root.parent / path):
            found = _file_under(candidate, root)
            if found is not None:
                return found
    return None


def upload_id(name: str) -> str | None:
    """The id in what may be the name of an upload."""
    match = _UPLOAD_NAME.fullmatch(name)
    return match[1] if match is not None else None


def _is_harmless(name: str) -> bool:
    """Whether a name can be tried as a path at all."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    if not name or len(encoded) > _MAX_NAME_BYTES or any(unicodedata.category(c) in ("Cc", "Cf") for c in name):
        return False
    # Full-width dots and slashes turn into plain ones where something downstream normalises.
    for spelling in (name, unicodedata.normalize("NFKC", name)):
        parts = re.split(r"[/\\]", spelling)
        if any((part.startswith(".") and part != ".") or len(part.encode()) > 255 for part in parts):
            return False
    return "\\" not in name and not name.startswith("~")


def _file_under(candidate: Path, root: Path) -> Path | None:
    """`candidate` with all links followed, if that is a regular file under `root`."""
    try:
        found = candidate.resolve(strict=True)
        if not found.is_relative_to(root.resolve()) or not stat.S_ISREG(found.stat().st_mode):
            return None
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, no permission
        return None
    return found
