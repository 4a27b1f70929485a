"""Capitals, acronyms, Roman numerals and abbreviations as words or single letters."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from sovits_service.text.en.numbers import cardinal, ordinal
from sovits_service.text.en.tables import load_table, modern_words
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_TABLES = files("sovits_service.text.en") / "data"

_TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor", "Gen": "General", "Col": "Colonel",
    "Sgt": "Sergeant", "Capt": "Captain", "Lt": "Lieutenant", "Rev": "Reverend", "Gov": "Governor", "Sen": "Senator",
    "Rep": "Representative", "Hon": "Honorable", "Pres": "President", "Maj": "Major", "Cmdr": "Commander",
    "Adm": "Admiral",
}  # fmt: skip
_STREETS = {
    "St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Hwy": "Highway", "Pkwy": "Parkway",
    "Sq": "Square", "Ln": "Lane",
}  # fmt: skip
_SHORT_WORDS = {
    "vs": "versus", "approx": "approximately", "dept": "department", "govt": "government", "est": "established",
    "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Co": "Company", "Bros": "Brothers", "Jr": "Junior",
    "Sr": "Senior", "Fig": "Figure", "fig": "figure", "Vol": "Volume", "vol": "volume", "Ch": "Chapter", "pp": "pages",
    "Mt": "Mount", "Ft": "Fort", "Univ": "University", "ed": "edition", "incl": "including", "misc": "miscellaneous",
    "max": "maximum", "min": "minimum", "avg": "average", "temp": "temperature", "Assn": "Association",
    "Sec": "Section", "rm": "room", "Rm": "Room", "Pl": "Place",
    "Eq": "Equation", "Tel": "telephone", "tel": "telephone", "ext": "extension", "Ext": "Extension", "Nr": "number",
    "cf": "compare", "viz": "namely", "resp": "respectively", "dir": "director", "Dist": "District", "Utd": "United",
}  # fmt: skip
_SHORT_WORDS |= {word.capitalize(): full for word, full in _SHORT_WORDS.items() if word.islower() and len(word) > 3}
_TITLE = LazyPattern(rf"\b({'|'.join(_TITLES)})(?:\. ?|\b(?= [A-Z][a-z]))")
_DOCTOR = LazyPattern(r"\bDr\.? ?(?=[A-Z][a-z])", needs="D")
_DRIVE = LazyPattern(r"(?<=[a-z]) Dr\.?(?=[,;.]|$| [a-z])", needs="D")
_STARTERS = (
    "The|It|He|She|They|We|You|This|That|These|In|On|At|But|And|So|If|When|There|A|An|I|My|Our|Then|What|Why|How|As|To|"
    "For|Now|No|Yes|Please"
)
_BEGINS = rf" (?:{_STARTERS}) [a-z]"  # a sentence
_STREET = LazyPattern(
    r"\b((?!(?:Mount|Mt|Port|Fort|Sault|Lake|East|West|North|South|Old|New|The|In|On|At|From|And|"
    r"Of)\b)[A-Z][a-z]+|[a-z\-]*(?:st|nd|rd|th)|Junior) "
    rf"(St|Ave|Blvd|Rd|Hwy|Pkwy|Sq|Ln)(?:(\.)(?={_BEGINS})|\.(?=,? ?\w)|\b)",
    needs="ABHLPRS",
)
_SAINT = LazyPattern(r"\bSt\.? (?=[A-Z][a-z])", needs="S")
_SHORT = LazyPattern(
    rf"\b({'|'.join(sorted(_SHORT_WORDS, key=len, reverse=True))})\.(?=(\s+[^\s])|[,;:)]|\s*$)", needs="."
)
_NO_DOT = LazyPattern(r"\b(vs|approx|dept|govt|Utd)\b(?!\.)")
_LATIN = (
    (LazyPattern(r"\b[eE]\.? ?[gG]\.(?:,(?= ))?|\b[eE][gG]\b\.?(?=[ ,])", needs="Ee"), "for example"),
    (LazyPattern(r"\b[iI]\. ?[eE]\.(?:,(?= ))?|\b[iI]e\.(?=[ ,])", needs="."), "that is"),
    (LazyPattern(r"\betc\.(?=,|;|\)| [a-z])", needs="."), "etc"),
    (LazyPattern(r"\bet al\.?(?= |,|$)", needs="e"), "et al"),
    (LazyPattern(r"\ba\.?k\.?a\.?(?= )", re.IGNORECASE, needs="Aa"), "A K A"),
    (LazyPattern(r"\bWW(?:II|2)\b", needs="W"), "World War two"),
    (LazyPattern(r"\bWW(?:I|1)\b", needs="W"), "World War one"),
    (LazyPattern(r"\b([YQMW])o\1\b", needs="MQWY"), lambda m: _over_period(m[1])),
    (LazyPattern(r"(?<=(?:%|t) )([yqmw])/\1\b", needs="/"), lambda m: _over_period(m[1])),
    (LazyPattern(r"\bty\b(?= (?:so|for|very|all|everyone|guys|sm|tho)\b|[!.,]|$)", needs="t"), "thank you"),
    (LazyPattern(r"\bw/o(?:ut)?\b", needs="/"), "without"),
    (LazyPattern(r"\bw/ ?(?=[A-Za-z\d])", needs="/"), "with "),
    (
        LazyPattern(
            r"\bb/c\b|\bbc\b(?= (?:of|I|he|she|it|we|they|you|u|ur|the|my|your|our|im|i|its|that|this|there|nobody|"
            r"everyone)\b)",
            needs="b",
        ),
        "because",
    ),
    (LazyPattern(r"(?<=[a-z] )vs?\.? (?=[A-Z])", needs="v"), "versus "),
    (LazyPattern(r"\by/o\b", needs="/"), "years old"),
    (LazyPattern(r"\bc/o\b", needs="/"), "care of"),
    (LazyPattern(r"\b[Aa]pt\. ?(?=[#\d])", needs="."), "apartment "),
    (LazyPattern(r"\b[Tt][Ll];[Dd][Rr]\b", needs=";"), "T L D R"),
    (LazyPattern(r"\band/or\b", re.IGNORECASE, needs="/"), "and or"),
    (LazyPattern(r"\b[nN]/[aA]\b", needs="/"), "N A"),
    (LazyPattern(r"\bs/he\b", needs="/"), "she or he"),
    (LazyPattern(r"\b([Hh]e|[Hh]is|[Hh]im|[Ss]he|[Hh]ers?)/(s?he|hers?|his|him)\b", needs="/"), r"\1 or \2"),
    (LazyPattern(r"(?<=[a-z])\(e?s\)", needs="("), "s"),
    (LazyPattern(r"(?<=[A-Z])/(?=[A-Z])", needs="/"), " "),
    (LazyPattern(r"\bJr\.(?= (?:Blvd|St|Ave|Way|Dr|Rd|Hwy|Pkwy)\b)", needs="J"), "Junior"),
    (LazyPattern(r"\bCo\.,? Ltd\b\.?", needs="C"), "Company Limited"),
    (LazyPattern(r"(?<=\d )([A-Z])s\b|\b(?!Ms\b)([B-HJ-TV-Z])s\b", needs="s"), r"\1\2's"),
    (LazyPattern(r"(?<=[a-z]{3})/(?=(?:day|week|month|year|hour|minute|second|person|night)\b)", needs="/"), " per "),
    (LazyPattern(r"\bPh\. ?D\.?(?=[ ,;.]|$)", needs="P"), "PhD"),
    (LazyPattern(r"\bp\. (?=\d)", needs="."), "page "),
)
_PERIODS = {"y": "year", "q": "quarter", "m": "month", "w": "week"}
_INITIALS = LazyPattern(r"(?<![A-Za-z.])((?:[A-Za-z]\.){2,8})(?=('s)\b|[^A-Za-z]|$)", needs=".")
_INITIAL = LazyPattern(
    rf"(?<!\b[AP] )\b([A-Z])\.(?= (?:(?!(?:{_STARTERS})\b)[A-Z](?:[a-z]|\.)|(?!(?:and|or|but)\b)[a-z]{{3}}))", needs="."
)
_LETTERED = LazyPattern(
    r"\b(?:vitamin|plan|hepatitis|grade|type|class|group|section|part|figure|table|appendix|option|team|point|model|unit|gate|"
    r"level|step|exhibit|building|room|series|an?|the|question|answer|letter|note|side|row|column|column|block|wing) $",
    re.IGNORECASE,
)
_CLASSIFIED = LazyPattern(r" (?:of\b|errors?\b|trials?\b|diabetes\b|cancer\b|stud|hypersens|collagen|survey)")
_AMPERSAND_LETTERS = LazyPattern(r"(?<![A-Za-z])([A-Z]{1,3})&([A-Z]{1,3})(?![A-Za-z])", needs="&")

_ROMAN = LazyPattern(r"(?<![\w'])([IVX]{1,7}|[LC][IVXL]{1,6})(?![\w+#]|\.\w|'(?!s\b))", needs="CILVX")
_ROMAN_FORM = LazyPattern(r"(C{0,1})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_NOT_ROMAN = {"XX", "XXX", "CL", "LI", "CI", "CC", "CV", "XL", "LL", "MIX", "CIV", "LIX"}
_NUMBERED = LazyPattern(
    r"\b(?:chapter|part|war|volume|vol\.?|act|scene|section|type|phase|article|book|level|title|class|stage|"
    r"grade|appendix|bowl|"
    r"fantasy|figure|table|unit|step|division|category|(?-i:Mark)|group|season|episode|version|round|tier|game|module|"
    r"world|protocol|windows|element|schedule|rocky|saw|apollo|gemini|saturn|formula|quest|wars|tomb|creed|"
    r"civilization|iron|pentium|elizabeth class)$",
    re.IGNORECASE,
)
_MONARCH = LazyPattern(
    r"\b(?:henry|louis|elizabeth|charles|george|edward|james|william|richard|philip|philippe|felipe|catherine|"
    r"mary|peter|paul|alexander|"
    r"nicholas|napoleon|frederick|friedrich|wilhelm|pius|benedict|leo|gregory|ramses|ramesses|rameses|thutmose|"
    r"otto|ferdinand|carlos|juan|"
    r"harald|ivan|darius|xerxes|cyrus|artaxerxes|king|queen|pope|emperor|tsar|czar|kaiser|sultan|clement|urban|"
    r"innocent|john|"
    r"margaret|christian|gustav|olaf|haakon|rama|ptolemy|mehmed|selim|suleiman|murad|constantine|theodosius|"
    r"justinian|francis|maximilian|"
    r"joseph|leopold|baldwin|stephen|robert|david|pedro|alfonso|isabella|victor emmanuel|boniface|sixtus|julius|"
    r"celestine|"
    r"cleopatra|antiochus|philippa|christina|rudolf|ludwig|albert|harold|adrian|hadrian|naruhito|faisal|hussein|"
    r"abdullah)$",
    re.IGNORECASE,
)
_CAPITAL_WORD = LazyPattern(r"\b[A-Z][\w'\-]*$")
_ERA_NOUN = LazyPattern(r" (?:century|centuries|dynasty|congress|olympiad|amendment|corps)\b", re.IGNORECASE)

_CAPITALS = LazyPattern(
    r"(?<![A-Za-z'])[A-Z][A-Za-z]*(?:'[A-Za-z]+)?(?![A-Za-z])|(?<![A-Za-z'])[a-z]+[A-Z][A-Za-z]*(?:'s)?"
)
_CAMEL_PIECE = LazyPattern(
    r"[A-Z]{2,}(?=[a-rt-z](?![a-z]))|[A-Z]{2,}(?=[A-Z][a-z]{2})|[A-Z]{2,}s?(?![a-z])|[A-Z]?[a-z]+|[A-Z]"
)
_PLURAL_CAPITALS = LazyPattern(r"([A-Z]{2,})(s|'s|'S|'d|'ed|'ing)", needs="'Ss")
_KEPT_WHOLE = LazyPattern(r"(?:Mc|Mac|Fitz|De|Di|Du|La|Le|Van|Von|O)[A-Z][a-z]+", needs="DFLMOV")


@lru_cache(maxsize=1)
def acronyms() -> dict[str, str]:
    """Capitals that are said as a word, spelt although a dictionary has them, or words even when short."""
    table: dict[str, str] = {}
    kind = ""
    for line in (_TABLES / "capitals.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#"):
            table.update((word, kind) for word in line.split())
    return table


def read_abbreviations(text: Spoken) -> Spoken:
    """Titles, streets, Latin and other short forms whose full stop ends no sentence."""
    for pattern, words in _LATIN:
        text = text.sub(pattern, words)
    text = text.sub(_DOCTOR, "Doctor ")
    text = text.sub(_DRIVE, lambda m: " Drive" + ("." if m[0].endswith(".") and not m.string[m.end() :] else ""))
    text = text.sub(_STREET, lambda m: f"{m[1]} {_STREETS[m[2]]}{m[3] or ''}")
    text = text.sub(_SAINT, "Saint ")
    text = text.sub(_TITLE, lambda m: f"{_TITLES[m[1]]} ")
    text = text.sub(_SHORT, _short_word)
    text = text.sub(_NO_DOT, lambda m: _SHORT_WORDS[m[1]])
    text = text.sub(_INITIALS, _initials)
    text = text.sub(_INITIAL, _initial)
    return text.sub(_AMPERSAND_LETTERS, lambda m: f"{' '.join(m[1])} and {' '.join(m[2])}")


def _over_period(letter: str) -> str:
    period = _PERIODS[letter.lower()]
    return f"{period} over {period}"


def _short_word(match: re.Match[str]) -> str:
    """The full form, with a stop only where the sentence ends; `min.` and `ed.` may be words that end one."""
    word, following = match[1], match[2] or ""
    ends = (not following and not match.string[match.end() :].strip()) or following.strip()[:1].isupper()
    if word in ("ed", "temp", "max", "min", "dir", "est", "Ch", "Co") and ends and word != "Co":
        return match[0]
    return _SHORT_WORDS[word] + (
        "." if ends and word not in ("Fig", "Vol", "Ch", "Mt", "Ft", "Sec", "Eq", "vs") else ""
    )


def _initials(match: re.Match[str]) -> str:
    """`U.S.` as its letters, with a full stop only where the sentence ends."""
    letters = match[1].replace(".", "").upper()
    rest = match.string[match.end() :]
    ends = not match[2] and (not rest.strip() or bool(re.match(r"\s+(?!Box )[A-Z][a-z]+ [a-z]", rest)))
    return " ".join(letters) + ("." if ends else "")


def read_roman_numerals(text: Spoken) -> Spoken:
    """`Henry VIII`, `Chapter IV`, `World War II`, `the XIX century`; other letters are left to `read_capitals`."""
    return text.sub(_ROMAN, _roman)


def _roman(match: re.Match[str]) -> str:
    letters = match[1]
    if letters in _NOT_ROMAN or not _ROMAN_FORM.fullmatch(letters):
        return match[0]
    values = [_ROMAN_VALUES[c] for c in letters]
    value = sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
    before = match.string[max(0, match.start() - 30) : match.start()].rstrip()
    if _ERA_NOUN.match(match.string[match.end() :][:12]) and len(letters) > 1:
        return ordinal(value)
    after = match.string[match.end() :][:16]
    if _NUMBERED.search(before) and (
        letters != "I" or before.endswith("War") or _ends_phrase(match) or _CLASSIFIED.match(after)
    ):
        return cardinal(value)
    if _MONARCH.search(before) and before[-1:].isalpha() and _CAPITAL_WORD.search(before):
        if letters == "I" and not _ends_phrase(match) and not re.match(r" of\b", match.string[match.end() :]):
            return match[0]
        if letters in ("V", "X") and re.search(r"\b(?:king|queen|john|david|robert)$", before, re.IGNORECASE):
            return match[0]
        return f"the {ordinal(value)}"
    if len(letters) > 1 and value < 40 and _CAPITAL_WORD.search(before) and not before.isupper():
        return cardinal(value)
    return match[0]


def _initial(match: re.Match[str]) -> str:
    """`George W. Bush`; but the letter after `Plan` or `Vitamin` ends its sentence."""
    before = match.string[max(0, match.start() - 12) : match.start()]
    is_name = match.string[match.end() + 1].islower()
    return match[1] if is_name or not _LETTERED.search(before) else match[0]


def _ends_phrase(match: re.Match[str]) -> bool:
    return bool(re.match(r"\s*(?:[.,;:!?)]|$|'s\b)", match.string[match.end() :][:8]))


def read_capitals(text: Spoken) -> Spoken:
    """Words in capitals as words when shouted, as letters when they are initials; names with capitals inside apart."""
    shouted = _is_shouted(text.text)
    return text.sub(_CAPITALS, lambda m: _capital_word(m, shouted))


def _is_shouted(text: str) -> bool:
    words = re.findall(r"[A-Za-z][A-Za-z']+", text)
    loud = [word for word in words if word.isupper()]
    known = acronyms()
    return len(loud) > 2 and len(loud) > 0.6 * len(words) and any(known.get(word) == "short words" for word in loud)


def _capital_word(match: re.Match[str], shouted: bool) -> str:
    word = match[0]
    inflected = _PLURAL_CAPITALS.fullmatch(word)
    if inflected and not (word.isupper() and _said_as_word(word.replace("'", ""), shouted)):
        stem, ending = inflected.groups()
        if _said_as_word(stem, shouted):
            return f"{stem.lower()}{ending.lower() if ending != 's' else chr(39) + 's'}"
        return " ".join(stem) + ("'s" if ending in ("s", "'s", "'S") else ending.replace("'", "'"))
    plain = word.replace("'", "")
    if plain.isupper():
        if len(plain) == 1 or "'" in word:
            return word if len(plain) == 1 else word.lower()
        return _in_context(match, shouted) if not _said_as_word(plain, shouted, match) else word.lower()
    if plain[1:].islower():
        return word
    return _camel(word)


def _in_context(match: re.Match[str], shouted: bool) -> str:
    return " ".join(match[0])


def _said_as_word(word: str, shouted: bool, match: re.Match[str] | None = None) -> bool:
    kind = acronyms().get(word)
    if kind == "letters" or (kind == "letters unless shouted" and not shouted):
        return False
    if kind in ("words", "short words"):
        return match is None or not _is_initials_here(word, match, shouted)
    in_dictionary = load_table("pronunciations.txt.gz").find(word.lower()) is not None
    if shouted and in_dictionary and len(word) > 1:
        return True
    if len(word) >= 4 and in_dictionary:
        return True
    return len(word) >= 6 and bool(re.search("[AEIOUY]", word)) and not re.search("[^AEIOUY]{5}", word)


_IT_NOUN = LazyPattern(
    r" (?:department|support|team|guy|guys|manager|staff|security|industry|infrastructure|professional|"
    r"professionals|admin|"
    r"system|systems|consultant|company|sector|services|director|specialist|budget|help|skills|job|jobs|person|"
    r"project|projects)\b"
)


_SAYS = LazyPattern(r" (?:said|says|told|asked|confirmed|reported)\b")


def _is_initials_here(word: str, match: re.Match[str], shouted: bool) -> bool:
    """`IT support`, `the WHO` and `the US` are initials, `do IT` and `WHO said` are words."""
    before = match.string[max(0, match.start() - 5) : match.start()].lower()
    after = match.string[match.end() :][:20]
    if word == "WHO":
        return before.endswith("the ")
    if shouted:
        return False
    if word == "IT":
        is_alone = not re.search("[A-Za-z]", match.string[: match.start()] + match.string[match.end() :])
        return (
            is_alone
            or bool(_IT_NOUN.match(after))
            or before.endswith((" in ", " an "))
            or _SAYS.match(after) is not None
        )
    return False


def _camel(word: str) -> str:
    """`iPhone` as i Phone, `JavaScript` as Java Script; `McDonald` and words in the dictionary stay whole."""
    stem, apostrophe, ending = word.partition("'")
    tail = apostrophe + ending
    if stem.lower() in modern_words():
        return stem.lower() + tail
    if _KEPT_WHOLE.fullmatch(stem):
        return stem.capitalize() + tail
    table = load_table("pronunciations.txt.gz")
    pieces = _CAMEL_PIECE.compiled.findall(stem)
    if table.find(stem.lower()) is not None and any(
        len(p) > 1 and p.islower() is False and not p.isupper() and table.find(p.lower()) is None for p in pieces
    ):
        return stem.lower() + tail
    words = []
    for piece in pieces:
        inflected = re.fullmatch("([A-Z]{2,})s", piece)
        if inflected or re.fullmatch("[A-Z]s", piece):
            words.append(" ".join(piece[:-1]) + "'s")
        else:
            words.append(" ".join(piece) if piece.isupper() else piece)
    return " ".join(words) + tail
