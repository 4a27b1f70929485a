"""Words that are written alike and said differently (`lead`, `live`, `object`): a sentence in, their readings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sovits_service.text.en.tables import DATA
from sovits_service.text.en.tagger import tag_words

Phonemes = tuple[str, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MODALS = _words(
    "will would can could shall should may might must cannot do does did don't doesn't didn't won't wouldn't can't couldn't "
    "shouldn't mustn't i'll you'll he'll she'll we'll they'll it'll i'd you'd he'd she'd we'd they'd let's please let to"
)
_HAVE = _words("have has had haven't hasn't hadn't i've you've we've they've having")
_BE = _words(
    "be is are was were been being am isn't aren't wasn't weren't it's that's he's she's i'm you're we're they're"
)
_DETERMINERS = _words("the a an my your his its our their this these those every each another some any no whose of 's")
_OBJECTS = _words("it me him them us you himself herself themselves yourself myself ourselves itself")
_SUBJECTS = _words("i you we they who")
_ONE = _words("he she it")
_DEGREE = _words("very so too more most quite rather really extremely pretty less least how as")
_STARTS = frozenset((".", ",", "!", "?", "-", "and", "or", "but", "then", "please", "just", "also", "never", "always"))
_PAST = _words("yesterday ago already last previously earlier once recently never before ever just finally")


@dataclass(frozen=True, slots=True)
class _Place:
    """A homograph in its sentence: lower-case words and tags with the place of the word."""

    words: Sequence[str]
    tags: Sequence[str]
    i: int
    token: str

    def word(self, offset: int) -> str:
        j = self.i + offset
        return self.words[j] if 0 <= j < len(self.words) else ""

    @property
    def tag(self) -> str:
        return self.tags[self.i]

    def before(self, words: frozenset[str], reach: int = 1) -> bool:
        return any(self.word(-k) in words for k in range(1, reach + 1))

    def after(self, words: frozenset[str], reach: int = 1) -> bool:
        return any(self.word(k) in words for k in range(1, reach + 1))

    def starts(self) -> bool:
        return not self.word(-1) or self.word(-1) in _STARTS

    def is_verb(self) -> bool:
        return _tag_in_context(self).startswith("V")


@lru_cache(maxsize=1)
def homographs() -> dict[str, tuple[Phonemes, Phonemes, str]]:
    """Words with their reading as one part of speech, their other reading, and the tag prefix of the first."""
    table = {}
    for line in (DATA / "homographs.tsv").read_text(encoding="utf-8").splitlines():
        word, first, second, tag = line.split("\t")
        table[word] = (tuple(first.split()), tuple(second.split()), tag)
    return table


def read_homographs(tokens: Sequence[str]) -> dict[int, Phonemes]:
    """Readings of the homographs of a sentence, by their index. Sentences without any are not tagged."""
    table = homographs()
    words = [token.lower() for token in tokens]
    places = [i for i, word in enumerate(words) if word in table or word in _SPECIAL]
    if not places:
        return {}
    tags = tag_words(tokens)
    readings: dict[int, Phonemes] = {}
    for i in places:
        place = _Place(words, tags, i, tokens[i])
        if words[i] in _SPECIAL:
            readings[i] = tuple(_SPECIAL[words[i]](place).split())
        else:
            first, second, wanted = table[words[i]]
            readings[i] = first if _tag_in_context(place).startswith(wanted) else second
    return readings


def _tag_in_context(place: _Place) -> str:
    """The tagger's tag, but where the words beside leave no doubt: it was trained on news, not on what people say."""
    tag = place.tag
    noun = tag if tag.startswith(("N", "J", "R")) else "NN"
    verb = tag if tag.startswith("V") else "VB"
    before, after = place.word(-1), place.word(1)
    if place.before(_DETERMINERS) and before != "no" and not (before == "of" and tag == "VBG"):
        return noun
    if before in _MODALS and not (before == "to" and after in ("of", "from")):
        # "The will contract" is rarer than "will contract"; "to" leans on nouns too, where the tagger saw a noun phrase.
        return verb if before != "to" or not tag.startswith("NNS") else noun
    if before == "not" and place.word(-2) in _MODALS:
        return verb
    if place.before(_SUBJECTS) or (before in _ONE and place.words[place.i].endswith("s")):
        return verb
    if before in _BE and not tag.startswith("VB"):
        return noun
    if before in _DEGREE and after in ("", ".", ",", "!", "?"):
        return noun
    if after in _OBJECTS and not tag.startswith("J"):
        return verb
    if (
        place.starts()
        and after in _DETERMINERS | _words("that her all both two three these")
        and after not in ("of", "'s")
    ):
        return verb
    if not before and after == "to" and not place.words[place.i].endswith("s"):
        return verb
    if after == "of" and tag.startswith("V") and before not in _MODALS:
        return noun
    return tag


def _read(place: _Place) -> str:
    before, after = place.word(-1), place.word(1)
    present, past = "R IY1 D", "R EH1 D"
    if before in _MODALS or (before == "not" and place.word(-2) in _MODALS) or before in ("a", "good", "great", "easy"):
        return present
    if place.before(_SUBJECTS | _ONE) and place.word(-2) in _HAVE:
        return past
    if place.before(_HAVE | _BE, 3) and not place.before(
        _MODALS | _SUBJECTS | _STARTS - {"never", "just", "always", "also"}, 2
    ):
        return past
    if before in ("well", "get", "got", "getting") or (before in _HAVE | _BE):
        return past
    if before in _MODALS or place.before(_MODALS, 3) and not place.before(frozenset((".", ",")), 3):
        return present
    if place.after(_words("yesterday ago last earlier once"), 12) or before in (
        "never",
        "already",
        "once",
        "just",
        "finally",
    ):
        return past
    if before in _ONE or (before in ("who", "that") and place.tag == "VBD"):
        return past
    if (
        place.starts()
        or before in _SUBJECTS
        or before in ("always", "often", "usually", "sometimes", "rarely", "seldom")
    ):
        told = any(tag == "VBD" and j != place.i for j, tag in enumerate(place.tags))
        return past if before in ("i", "we", "they", "and") and told and after != "books" else present
    if place.tag in ("VBD", "VBN") or place.tags[max(0, place.i - 1)] in ("NN", "NNP"):
        return past
    return present


def _lead(place: _Place) -> str:
    metal = _words(
        "pipe pipes paint paints poisoning pencil pencils shot bullet bullets acid oxide weight weights ore glass crystal roof "
        "mine mines contamination levels exposure plate plates solder ions battery batteries content-free lined apron plumbing "
        "sheet sheets compounds alloy zinc copper tin"
    )
    metals = _words(
        "zinc copper iron tin mercury silver gold arsenic steel cadmium molten liquid pencil pure metal heavy"
    )
    if place.after(metal) and not place.is_verb():
        return "L EH1 D"
    if place.word(-1) in ("of", "with", "contains", "containing", "like", "from") and place.word(1) in (
        "",
        ".",
        ",",
        "!",
        "?",
        "and",
        "or",
    ):
        return "L EH1 D"
    if not place.is_verb() and any(w in ("pencil", "pencils") for w in place.words[max(0, place.i - 6) : place.i]):
        return "L EH1 D"
    if place.word(-1) in metals or (place.word(-1) in ("and", "or", ",") and place.word(-2) in metals):
        return "L EH1 D"
    if (
        place.word(1) in ("is", "was")
        and place.word(2) in ("a", "toxic", "heavy", "poisonous", "soft", "dangerous")
        and not place.word(-1)
    ):
        return "L EH1 D"
    return "L IY1 D"


def _live(place: _Place) -> str:
    adverb_of = _words(
        "go goes went going gone broadcast streamed stream streaming aired air airs watch watched watching perform performed "
        "performing play plays played playing sing sang recorded shown show seen see appear televised reporting reports coming "
        "listen join"
    )
    shown = _words(
        "music show shows stream streams streaming broadcast broadcasts concert concerts performance performances album version "
        "audience coverage band tv television wire wires action event events chat feed video videos animals bait ammunition rounds "
        "recording updates update session sessions report on-air entertainment streamers streamer theater theatre sports football "
        "data demo traffic births birth support camera cameras game games news"
    )
    if place.before(_MODALS | _SUBJECTS) or place.word(-1) in (
        "people",
        "men",
        "women",
        "children",
        "families",
        "who",
        "still",
        "also",
    ):
        return "L AY1 V" if place.word(-1) == "we" and place.word(-2) in ("are",) else "L IH1 V"
    if place.after(shown) or place.before(adverb_of) or place.before(_DETERMINERS | _DEGREE | _BE):
        return "L AY1 V"
    if place.word(-2) in adverb_of and place.word(1) in (
        "",
        ".",
        ",",
        "!",
        "?",
        "on",
        "from",
        "at",
        "in",
        "to",
        "tonight",
        "now",
    ):
        return "L AY1 V"
    if place.starts() and place.word(1) in ("from", "at"):
        return "L AY1 V"
    return (
        "L AY1 V"
        if place.tag.startswith(("J", "RB")) and place.word(1) not in ("in", "on", "near", "with", "here", "there")
        else "L IH1 V"
    )


def _lives(place: _Place) -> str:
    owned = _DETERMINERS | _words(
        "many save saved saving lost risk changed change changing people's her other both two nine past human"
    )
    if place.before(owned) or (place.tag == "NNS" and not place.before(_ONE)):
        return "L AY1 V Z"
    return "L IH1 V Z"


def _wind(place: _Place) -> str:
    turned = _words("up down the it a your its through around back along yarn")
    if (
        place.word(-1) in _MODALS
        and (place.word(1) in turned or place.word(-1) != "to")
        and place.word(1) not in ("power", "turbine", "turbines")
    ):
        return "W AY1 N D"
    if place.before(_SUBJECTS) or (
        place.starts() and place.word(1) in ("the", "it", "up", "your") and place.word(1) != ""
    ):
        return "W AY1 N D"
    return "W IH1 N D"


def _winds(place: _Place) -> str:
    along = _words("through around up down along its past between")
    moves = (
        place.after(along)
        and not place.before(_words("strong high the cold warm and of heavy"))
        or place.word(-1) in _ONE
    )
    road = place.after(along) and place.word(-1) in _words(
        "road river path trail street stream it that which line stairs staircase"
    )
    return "W AY1 N D Z" if moves or road else "W IH1 N D Z"


def _tear(place: _Place) -> str:
    weeping = _words("gas drop drops duct ducts stained jerker streaked filled shaped glands")
    eyes = _words("eye eyes cheek cheeks face")
    if place.after(weeping) or (not place.is_verb() and any(w in eyes for w in place.words[place.i + 1 : place.i + 6])):
        return "T IH1 R"
    shed = _words("shed single wept wiped wipe cry cried crying")
    return "T IH1 R" if place.before(shed, 2) and not place.is_verb() else "T EH1 R"


def _tears(place: _Place) -> str:
    if place.before(_ONE) or (place.after(_words("apart up down through off away")) and place.tag.startswith("V")):
        return "T EH1 R Z"
    if (
        place.before(_words("muscle ligament rotator cuff paper"))
        or place.word(1) == "in"
        and place.word(2) in ("the", "his", "her")
        and (place.word(3) in _words("fabric paper muscle cloth sail net shirt"))
    ):
        return "T EH1 R Z"
    return "T IH1 R Z"


def _bow(place: _Place) -> str:
    knot = _words("tie ties and arrow arrows string window legged hunter hunting")
    if place.after(knot) and not (
        place.word(1) == "and" and place.word(2) not in ("arrow", "arrows", "ribbon", "ribbons")
    ):
        return "B OW1"
    if place.word(-1) in _words(
        "violin cello hair ribbon red pink white big satin silk wooden long cross drew his her with"
    ):
        return "B OW1" if place.word(-1) not in ("his", "her") or place.tag.startswith("N") else "B AW1"
    if place.word(-1) in ("a", "the") and place.word(-2) in _words(
        "tied tie wear wore wears wearing with shoot shot drew draw in pulled"
    ):
        return "B OW1"
    return "B AW1"


def _bass(place: _Place) -> str:
    fish = _words("sea striped largemouth smallmouth black caught catch grilled fried white fresh baked freshwater")
    fishy = _words("fishing fillet fillets pond lake boat tournament swim swims swam")
    water = any(word in fishy for word in place.words[place.i + 1 : place.i + 5])
    return "B AE1 S" if place.before(fish, 3) or water else "B EY1 S"


def _minute(place: _Place) -> str:
    tiny = _words(
        "detail details amount amounts quantity quantities difference differences particles particle fraction traces changes"
    )
    return (
        "M AY0 N UW1 T"
        if place.after(tiny) or (place.before(_DEGREE - {"as", "more", "so"}) and place.word(1) != "of")
        else "M IH1 N AH0 T"
    )


def _wound(place: _Place) -> str:
    turned = _words("up around down through its back along past tightly between")
    if place.after(turned) and not place.before(_DETERMINERS):
        return "W AW1 N D"
    if (
        place.word(-1) in _words("tightly he she it clock i we they river road path")
        and place.tag.startswith("V")
        and place.word(1) in ("the", "a", "it")
    ):
        return "W AW1 N D"
    return "W AW1 N D" if place.word(-1) == "tightly" else "W UW1 N D"


def _dove(place: _Place) -> str:
    deep = _words("into in under for down off headfirst deep right straight through below")
    return (
        "D OW1 V"
        if place.after(deep) and not place.before(_DETERMINERS | _words("white turtle mourning"))
        else "D AH1 V"
    )


def _polish(place: _Place) -> str:
    if place.token == "Polish" and (place.i or place.tag == "JJ") and place.word(1) not in ("the", "your", "it", "up"):
        return "P OW1 L IH0 SH"
    return "P AA1 L IH0 SH"


def _used(place: _Place) -> str:
    """`used to` of habit has a hissing s: he used to sing, they are used to it; but it is used to cut."""
    if place.word(1) != "to":
        return "Y UW1 Z D"
    habit = not place.before(_words("is are was were be been being am it's that's commonly often widely"), 2)
    accustomed = place.word(2) in _words("it this that the being having doing a his her my your our their them")
    person = place.before(_words("i'm you're we're they're he's she's get got getting am"), 1)
    return "Y UW1 S T" if habit or accustomed or person else "Y UW1 Z D"


def _close(place: _Place) -> str:
    if place.word(-1) == "the" and place.word(1) == "of":
        return "K L OW1 Z"
    near = place.after(_words("to by enough together friend friends call up")) and place.word(-1) not in _MODALS
    if near and place.word(1) != "up":
        return "K L OW1 S"
    return "K L OW1 Z" if place.is_verb() else "K L OW1 S"


_SPECIAL: dict[str, Callable[[_Place], str]] = {
    "read": _read,
    "lead": _lead,
    "live": _live,
    "lives": _lives,
    "wind": _wind,
    "winds": _winds,
    "tear": _tear,
    "tears": _tears,
    "bow": _bow,
    "bass": _bass,
    "minute": _minute,
    "wound": _wound,
    "dove": _dove,
    "polish": _polish,
    "used": _used,
    "close": _close,
}
