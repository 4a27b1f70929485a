"""The program behind `reading.isolated`: read one document that a client sent, within limits, and end.

The arguments of `read_document` and the limits are its own, as JSON; the file is its standard input, and the document,
or the error, its standard output, as JSON.
"""

from __future__ import annotations

import base64
import codecs
import json
import sys
from typing import Any

from sovits_service.audio.decoder_process import ProcessLimits, limit_process
from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.document import Document
from sovits_service.jobs.reading.plain import ENCODINGS
from sovits_service.jobs.reading.read import read_document

_SAMPLES = {
    "md": "# a\n\nb",
    "html": "<h1>a</h1><p>b",
    "srt": "1\n00:00:01,000 --> 00:00:02,000\nabc\n",
    "jsonl": '{"text": "abc"}',
}


def main() -> None:
    """Read the document of the standard input."""
    options, limits = json.loads(sys.argv[1]), ProcessLimits(**json.loads(sys.argv[2]))
    data = sys.stdin.buffer.read()
    _load()
    limit_process(limits)
    try:
        told = pack(read_document(data, **options))
    except InvalidRequestError as error:
        told = {"error": str(error)}
    sys.stdout.buffer.write(json.dumps(told).encode())


def pack(document: Document) -> dict[str, Any]:
    """A document as JSON has it."""
    cover = document.cover
    chapters = [
        [chapter.title, [[line.text, line.start_s, line.end_s, dict(line.fields)] for line in chapter.lines]]
        for chapter in document.chapters
    ]
    picture = None if cover is None else base64.b64encode(cover.data).decode()
    return {"title": document.title, "author": document.author, "chapters": chapters, "cover": picture}


def _load() -> None:
    """Import what the libraries import when they are used first: later, no file can be opened."""
    for kind, text in _SAMPLES.items():
        read_document(text.encode(), kind=kind)
    for encoding in (*ENCODINGS, "utf-8-sig", "ascii", "cp437"):  # the last is that of names in zip files
        codecs.lookup(encoding)


if __name__ == "__main__":
    main()
