"""English text as written in, text as spoken out: words, apostrophes, hyphens and the pauses . , ? !"""

from __future__ import annotations

import re
import unicodedata

from sovits_service.text.en import numbers


def normalize(text: str) -> tuple[str, int]:
    """Spoken form and the count of letters that have no reading."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    text = re.sub(r"(\d),(?=\d{3})", r"\1", text)
    text = re.sub(r"(\d+)\.(\d+)", lambda m: numbers.decimal(m[1], m[2]), text)
    text = re.sub(
        r"\d+(?=\D|$)", lambda m: " " + (numbers.year(m[0]) if len(m[0]) == 4 else numbers.cardinal(m[0])) + " ", text
    )
    text = re.sub(r"(?<=[A-Z])(?=[A-Z])|(?<=[a-z])(?=[A-Z])", " ", text)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    text = text.replace("%", " percent")
    dropped = sum(c.isalpha() and not c.isascii() for c in text)
    text = re.sub(r"[^ A-Za-z'.,?!\-]", "", re.sub(r"\s", " ", text))
    return re.sub(r"([!?,.\-\s])[!?,.\-]+", r"\1", text), dropped
