"""Files as people send them to `/jobs`, and their pictures."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">
<metadata><dc:title>小王子</dc:title><dc:creator>Antoine</dc:creator><meta name="cover" content="pic"/></metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="pic" href="img/cover.png" media-type="image/png"/>
<item id="one" href="text/one%20a.xhtml" media-type="application/xhtml+xml"/>
<item id="more" href="text/more.xhtml" media-type="application/xhtml+xml"/>
<item id="two" href="text/two.xhtml" media-type="application/xhtml+xml"/>
</manifest>
<spine><itemref idref="nav"/><itemref idref="one"/><itemref idref="more"/><itemref idref="two"/></spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<body><nav epub:type="toc"><ol><li><a href="text/one%20a.xhtml">The first</a></li>
<li><a href="text/two.xhtml#x">The second</a></li></ol></nav></body></html>"""
SRT = "1\n00:00:01,000 --> 00:00:03,000\nabc\n\n2\n00:00:05,000 --> 00:00:05,100\n<i>defg</i>\n"
MARKDOWN = "# One *a*\n\nabc\ndef\n\n- ghi\n- jkl\n\n## Two\n\n`mno` <!-- no -->"
HTML = "<title>T</title><style>x</style><p>a&eacute;b<p>cd &amp; ef<h2>G</h2><div>hi<span>j</span></div>"
CHINESE = "第一章 起\r\n甲乙。\r\n\r\n丙\n第二章\n丁".encode("gb18030")
ENTITIES = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">
<!ENTITY f SYSTEM "file:///etc/passwd">]><package><metadata><title>&b;&f;</title></metadata></package>"""
PROTECTED = '<e><EncryptionMethod Algorithm="x#aes128"/></e>'


def page(body: str) -> str:
    return f'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'


def png() -> bytes:
    """A red picture of 8 by 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def book_files() -> dict[str, str | bytes]:
    """A book of two chapters, the first of two pages."""
    return {
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE,
        "OEBPS/nav.xhtml": NAV,
        "OEBPS/img/cover.png": png(),
        "OEBPS/text/one a.xhtml": page("<p>abc&nbsp;def.</p><p>ghi <ruby>jk<rt>xx</rt></ruby>l</p><script>no</script>"),
        "OEBPS/text/more.xhtml": page("<p>mno</p>"),
        "OEBPS/text/two.xhtml": page("<h1>pqr</h1><p>stu<br/>vwx</p>"),
    }


def epub(changes: Mapping[str, str | bytes | None] = {}) -> bytes:
    """A book with some of its files changed; None leaves one out."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        for name, content in {**book_files(), **changes}.items():
            if content is not None:
                archive.writestr(name, content)
    return sink.getvalue()
