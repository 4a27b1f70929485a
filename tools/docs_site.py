"""MkDocs hooks: pages from the rest of the repository, and links that work on the site as they do in the repository.

Documents are written for reading in the repository: links are relative to the file, and may lead to any file of it.
Those to documents that are on the site become links between its pages. Of those to source files the text alone is
left. One that leads nowhere is a warning, and so an error in strict mode.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Documents outside of docs/, by their page.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
    "security-policy.md": "SECURITY.md",
    "demonstration-model.md": "pretrained_models/demo/README.md",
    "bundled-voices.md": "voices/README.md",
}
_SOURCES = {page: PurePosixPath(source) for page, source in PAGES.items()}
_PAGE_OF = {source: page for page, source in _SOURCES.items()}
# Code first: a link within it is an example.
_CODE_OR_LINK = re.compile(
    r"^```.*?^```$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]`]|`[^`]*`)*)\]\((?P<target>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)

log = logging.getLogger("mkdocs.hooks.docs_site")


@event_priority(100)  # before the plugin that checks links takes its list of pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the repository that are not under docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    own = page.file.src_uri
    source = _SOURCES.get(own, PurePosixPath("docs", own))
    return _CODE_OR_LINK.sub(lambda match: _link(match, source, own) if match["target"] else match[0], markdown)


def _link(match: re.Match[str], source: PurePosixPath, page: str) -> str:
    target, _, anchor = match["target"].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return match[0]
    path = PurePosixPath(os.path.normpath(source.parent / target))
    if not (ROOT / path).exists():
        log.warning("%s: the link to %s leads nowhere", source, target)
        return match[0]
    if path.parts[0] == "docs":
        found = str(path.relative_to("docs"))
    elif path in _PAGE_OF:
        found = _PAGE_OF[path]
    else:
        return match["text"]
    relative = os.path.relpath(found, PurePosixPath(page).parent)
    return f"{match['image']}[{match['text']}]({relative}{'#' + anchor if anchor else ''})"
