"""Reload the pronunciation dictionary when its file changes."""

from __future__ import annotations

from pathlib import Path

import structlog

from sovits_service.config_file import find_path
from sovits_service.errors import SettingsError
from sovits_service.text.lexicon import Lexicon, parse_lexicon, read_lexicon

log = structlog.get_logger(__name__)


class LexiconFile:
    """The dictionary as the file has it: read at once, and again by `refresh` when the file has changed.

    Args:
        path: need not exist; where it does not, the package's file of this name counts.

    Raises:
        SettingsError: the file is there and cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[Path, int, int, int] | None = None
        self._seen = self._look()
        self.text = read_lexicon(find_path(path)) if self._seen is not None else ""
        self.lexicon = parse_lexicon(self.text, path.name)

    def refresh(self) -> bool:
        """Whether there is another dictionary now; a file that is wrong is told in the log, and changes nothing."""
        found = self._look()
        if found == self._seen:
            return False
        self._seen = found
        try:
            text = read_lexicon(find_path(self._path)) if found is not None else ""
        except SettingsError as error:
            log.warning("lexicon not taken, the one before stays", reason=str(error))
            return False
        return self.take(text)

    def take(self, text: str) -> bool:
        """Whether there is another dictionary now, of a text in place of the file's."""
        try:
            lexicon: Lexicon = parse_lexicon(text, self._path.name)
        except SettingsError as error:
            log.warning("lexicon not taken, the one before stays", reason=str(error))
            return False
        self.text, self.lexicon = text, lexicon
        log.info("lexicon taken", words=sum(map(len, lexicon.words.values())))
        return True

    def _look(self) -> tuple[Path, int, int, int] | None:
        """What tells one state of the file from another."""
        path = find_path(self._path)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        except OSError:  # it may be there
            return self._seen
        return path, status.st_ino, status.st_mtime_ns, status.st_size
