"""EPUB: the chapters of its spine, their titles from its table of contents, its title, author and cover."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import unquote, urlsplit

from lxml import etree

from sovits_service.audio.book import Picture
from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Chapter, Document, Line, read_cover, with_words
from sovits_service.jobs.reading.html import blocks, parse

_MAX_ENTRIES = 10_000
_MAX_UNPACKED_BYTES = 200 * 2**20  # of all that is read of a book
_MAX_PAGE_BYTES = 20 * 2**20
_MAX_COVER_BYTES = 5 * 2**20
_PAGES = frozenset(("application/xhtml+xml", "text/html", "application/html+xml"))
_FONTS = "http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"  # obfuscated, which is no protection


@dataclass(frozen=True, slots=True)
class _Item:
    path: str
    media_type: str
    properties: frozenset[str]


class _Archive:
    """The files of a book; what is read of them is bounded, whatever the archive says of their sizes."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise InvalidRequestError("the file is no epub: it is not a zip archive") from None
        self._names = set(self._zip.namelist())
        if len(self._names) > _MAX_ENTRIES:
            raise InvalidRequestError(f"the epub has more than {_MAX_ENTRIES:,} files")
        self._left_bytes = _MAX_UNPACKED_BYTES

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str, limit_bytes: int = _MAX_UNPACKED_BYTES) -> bytes:
        """A file, of which more than the limit is refused before it is unpacked."""
        limit_bytes = min(limit_bytes, self._left_bytes)
        try:
            with self._zip.open(name) as file:
                data = file.read(limit_bytes + 1)
        except RuntimeError:  # it is encrypted
            raise _protected() from None
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError):
            raise InvalidRequestError("the epub is damaged: a file in it cannot be unpacked") from None
        if len(data) > limit_bytes:
            raise InvalidRequestError(
                f"the epub is too large: a chapter may unpack to {_MAX_PAGE_BYTES:,} bytes, and the whole to "
                f"{_MAX_UNPACKED_BYTES:,}"
            )
        self._left_bytes -= len(data)
        return data


def read_epub(data: bytes) -> Document:
    """The book, chapter by chapter; its lists of contents and pages out of the order of reading are left out.

    Raises:
        InvalidRequestError: it is damaged, protected, too large, or names a chapter that is not there.
    """
    archive = _Archive(data)
    _refuse_protected(archive)
    package_path = _package_path(archive)
    package = _xml(archive.read(package_path), "its package file")
    items = _items(package, package_path)
    titles = _titles(archive, items, package)
    chapters: list[Chapter] = []
    for number, item in _spine(package, items):
        if item.path not in archive:
            raise InvalidRequestError(f"the epub is damaged: chapter {number} of its spine is missing")
        found = blocks(parse(archive.read(item.path, _MAX_PAGE_BYTES) or b" "))
        lines = tuple(Line(block.text) for block in found)
        title = titles.get(item.path) or next((block.text for block in found if block.is_heading), "")
        if not title and chapters:
            chapters[-1] = Chapter(chapters[-1].title, chapters[-1].lines + lines)
        elif lines:
            chapters.append(Chapter(title, lines))
    return Document(
        with_words(chapters),
        title=_told(package, "title"),
        author=_told(package, "creator"),
        cover=_cover(archive, items, package),
    )


def _protected() -> InvalidRequestError:
    return InvalidRequestError("the epub is protected (DRM) and cannot be read")


def _refuse_protected(archive: _Archive) -> None:
    name = "META-INF/encryption.xml"
    if name not in archive:
        return
    methods = _all(_xml(archive.read(name), "its list of encrypted files"), "EncryptionMethod")
    if any(method.get("Algorithm") not in _FONTS for method in methods):
        raise _protected()


def _xml(data: bytes, what: str) -> etree._Element:
    """XML without entities of its own, and without looking elsewhere for anything."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise InvalidRequestError(f"the epub is damaged: {what} is not valid XML") from None
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise InvalidRequestError(f"the epub cannot be read: {what} declares XML entities")
    return root


def _all(root: etree._Element, name: str) -> Iterator[etree._Element]:
    """Elements by their name, whatever their namespace."""
    yield from root.iter(f"{{*}}{name}", name)


def _package_path(archive: _Archive) -> str:
    name = "META-INF/container.xml"
    if name not in archive:
        raise InvalidRequestError("the file is no epub: META-INF/container.xml is missing")
    for rootfile in _all(_xml(archive.read(name), "META-INF/container.xml"), "rootfile"):
        path = rootfile.get("full-path") or ""
        if path in archive:
            return path
    raise InvalidRequestError("the epub is damaged: its package file is missing")


def _resolve(base: str, href: str) -> str:
    """The name in the archive of what a file refers to."""
    try:
        path = unquote(urlsplit(href).path)
    except ValueError:
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), path)).lstrip("/")


def _items(package: etree._Element, package_path: str) -> dict[str, _Item]:
    return {
        item.get("id") or "": _Item(
            _resolve(package_path, item.get("href") or ""),
            item.get("media-type") or "",
            frozenset((item.get("properties") or "").split()),
        )
        for item in _all(package, "item")
    }


def _spine(package: etree._Element, items: dict[str, _Item]) -> Iterator[tuple[int, _Item]]:
    """The pages in the order of reading, each with its number in the spine."""
    for number, reference in enumerate(_all(package, "itemref"), start=1):
        item = items.get(reference.get("idref") or "")
        if item is None:
            raise InvalidRequestError(f"the epub is damaged: chapter {number} of its spine is not in its list of files")
        if reference.get("linear") != "no" and item.media_type in _PAGES and "nav" not in item.properties:
            yield number, item


def _titles(archive: _Archive, items: dict[str, _Item], package: etree._Element) -> dict[str, str]:
    """The title of each page that the table of contents names; the first where it names several places of one."""
    titles: dict[str, str] = {}
    nav = next((item.path for item in items.values() if "nav" in item.properties), "")
    if nav in archive:
        for link in parse(archive.read(nav) or b" ").iter("a"):
            titles.setdefault(_resolve(nav, link.get("href") or ""), " ".join(link.text_content().split()))
        return titles
    spine = next(_all(package, "spine"), None)
    ncx = items.get(spine.get("toc") or "") if spine is not None else None
    if ncx is not None and ncx.path in archive:
        for point in _all(_xml(archive.read(ncx.path), "its table of contents"), "navPoint"):
            label, content = next(_all(point, "text"), None), next(_all(point, "content"), None)
            if label is not None and content is not None:
                said = " ".join("".join(label.itertext()).split())
                titles.setdefault(_resolve(ncx.path, content.get("src") or ""), said)
    return titles


def _told(package: etree._Element, name: str) -> str:
    """What the book says of itself: its title, its first author."""
    element = next(_all(package, name), None)
    return " ".join("".join(element.itertext()).split())[:500] if element is not None else ""


def _cover(archive: _Archive, items: dict[str, _Item], package: etree._Element) -> Picture | None:
    named = next((meta.get("content") or "" for meta in _all(package, "meta") if meta.get("name") == "cover"), "")
    item = next((item for item in items.values() if "cover-image" in item.properties), items.get(named))
    if item is None or item.path not in archive:
        return None
    try:
        return read_cover(archive.read(item.path, _MAX_COVER_BYTES))
    except InvalidRequestError:  # a book can be heard without it
        return None
