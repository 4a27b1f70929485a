"""Homographs that no part of speech tells apart (`lead`, `bass`, `read`), by their context."""

from __future__ import annotations

from collections.abc import Callable

from sovits_service.text.en.word_context import (
    BE,
    DEGREE,
    DETERMINERS,
    HAVE,
    MODALS,
    ONE,
    STARTS,
    SUBJECTS,
    Place,
    words_of,
)


def _read(place: Place) -> str:
    before, after = place.word(-1), place.word(1)
    present, past = "R IY1 D", "R EH1 D"
    if before in MODALS or (before == "not" and place.word(-2) in MODALS) or before in ("a", "good", "great", "easy"):
        return present
    if place.before(SUBJECTS | ONE) and place.word(-2) in HAVE:
        return past
    if place.before(HAVE | BE, 3) and not place.before(
        MODALS | SUBJECTS | STARTS - {"never", "just", "always", "also"}, 2
    ):
        return past
    if before in ("well", "get", "got", "getting") or (before in HAVE | BE):
        return past
    if before in MODALS or (place.before(MODALS, 3) and not place.before(frozenset((".", ",")), 3)):
        return present
    if place.after(words_of("yesterday ago last earlier once"), 12) or before in (
        "never",
        "already",
        "once",
        "just",
        "finally",
    ):
        return past
    if before in ONE or (before in ("who", "that") and place.tag == "VBD"):
        return past
    if before in SUBJECTS and place.after(words_of("every daily often"), 3):
        return present
    if (
        place.starts()
        or before in SUBJECTS
        or before in ("always", "often", "usually", "sometimes", "rarely", "seldom")
    ):
        told = any(tag == "VBD" and j != place.i for j, tag in enumerate(place.tags))
        return past if before in ("i", "we", "they", "and") and told and after != "books" else present
    if place.tag in ("VBD", "VBN") or place.tags[max(0, place.i - 1)] in ("NN", "NNP"):
        return past
    return present


def _lead(place: Place) -> str:
    metal = words_of(
        "pipe pipes paint paints poisoning pencil pencils shot bullet bullets acid oxide weight weights ore "
        "glass crystal roof "
        "mine mines contamination levels exposure plate plates solder ions battery batteries content-free lined "
        "apron plumbing "
        "sheet sheets compounds alloy zinc copper tin"
    )
    metals = words_of(
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


def _live(place: Place) -> str:
    adverb_of = words_of(
        "go goes went going gone broadcast streamed stream streaming aired air airs watch watched watching "
        "perform performed "
        "performing play plays played playing sing sang recorded shown show seen see appear televised reporting "
        "reports coming "
        "listen join"
    )
    shown = words_of(
        "music show shows stream streams streaming broadcast broadcasts concert concerts performance "
        "performances album version "
        "audience coverage band tv television wire wires action event events chat feed video videos animals bait "
        "ammunition rounds "
        "recording updates update session sessions report on-air entertainment streamers streamer theater "
        "theatre sports football "
        "data demo traffic births birth support camera cameras game games news"
    )
    if place.before(MODALS | SUBJECTS) or place.word(-1) in (
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
    if place.after(shown) or place.before(adverb_of) or place.before(DETERMINERS | DEGREE | BE):
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


def _lives(place: Place) -> str:
    owned = DETERMINERS | words_of(
        "many save saved saving lost risk changed change changing people's her other both two nine past human"
    )
    if place.before(owned) or (place.tag == "NNS" and not place.before(ONE)):
        return "L AY1 V Z"
    return "L IH1 V Z"


def _wind(place: Place) -> str:
    turned = words_of("up down the it a your its through around back along yarn")
    if (
        place.word(-1) in MODALS
        and (place.word(1) in turned or place.word(-1) != "to")
        and place.word(1) not in ("power", "turbine", "turbines")
    ):
        return "W AY1 N D"
    if place.before(SUBJECTS) or (
        place.starts() and place.word(1) in ("the", "it", "up", "your") and place.word(1) != ""
    ):
        return "W AY1 N D"
    return "W IH1 N D"


def _winds(place: Place) -> str:
    along = words_of("through around up down along its past between")
    moves = (place.after(along) and not place.before(words_of("strong high the cold warm and of heavy"))) or place.word(
        -1
    ) in ONE
    road = place.after(along) and place.word(-1) in words_of(
        "road river path trail street stream it that which line stairs staircase"
    )
    return "W AY1 N D Z" if moves or road else "W IH1 N D Z"


def _tear(place: Place) -> str:
    weeping = words_of("gas drop drops duct ducts stained jerker streaked filled shaped glands")
    eyes = words_of("eye eyes cheek cheeks face")
    if place.after(weeping) or (not place.is_verb() and any(w in eyes for w in place.words[place.i + 1 : place.i + 6])):
        return "T IH1 R"
    if place.word(-1) == "a" and place.after(words_of("fell rolled ran dropped slid")):
        return "T IH1 R"
    shed = words_of("shed single wept wiped wipe cry cried crying")
    return "T IH1 R" if place.before(shed, 2) and not place.is_verb() else "T EH1 R"


def _tears(place: Place) -> str:
    if place.before(ONE) or (place.after(words_of("apart up down through off away")) and place.tag.startswith("V")):
        return "T EH1 R Z"
    if place.before(words_of("muscle ligament rotator cuff paper")) or (
        place.word(1) == "in"
        and place.word(2) in ("the", "his", "her")
        and (place.word(3) in words_of("fabric paper muscle cloth sail net shirt"))
    ):
        return "T EH1 R Z"
    return "T IH1 R Z"


def _bow(place: Place) -> str:
    knot = words_of("tie ties and arrow arrows string window legged hunter hunting")
    if place.after(knot) and not (
        place.word(1) == "and" and place.word(2) not in ("arrow", "arrows", "ribbon", "ribbons")
    ):
        return "B OW1"
    if place.word(-1) in words_of(
        "violin cello hair ribbon red pink white big satin silk wooden long cross drew his her with"
    ):
        return "B OW1" if place.word(-1) not in ("his", "her") or place.tag.startswith("N") else "B AW1"
    if place.word(-1) in ("a", "the") and place.word(-2) in words_of(
        "tied tie wear wore wears wearing with shoot shot drew draw in pulled"
    ):
        return "B OW1"
    return "B AW1"


def _bass(place: Place) -> str:
    fish = words_of("sea striped largemouth smallmouth black caught catch grilled fried white fresh baked freshwater")
    fishy = words_of("fishing fillet fillets pond lake boat tournament swim swims swam")
    water = any(word in fishy for word in place.words[place.i + 1 : place.i + 5])
    return "B AE1 S" if place.before(fish, 3) or water else "B EY1 S"


def _minute(place: Place) -> str:
    tiny = words_of(
        "detail details amount amounts quantity quantities difference differences particles particle fraction "
        "traces changes"
    )
    return (
        "M AY0 N UW1 T"
        if place.after(tiny)
        or (place.before(BE) and place.word(1) in ("", ".", ",", "!", "?"))
        or (place.before(DEGREE - {"as", "more", "so"}) and place.word(1) != "of")
        else "M IH1 N AH0 T"
    )


def _wound(place: Place) -> str:
    turned = words_of("up around down through its back along past tightly between")
    if place.after(turned) and not place.before(DETERMINERS):
        return "W AW1 N D"
    if (
        place.word(-1) in words_of("tightly he she it clock i we they river road path")
        and place.tag.startswith("V")
        and place.word(1) in ("the", "a", "it")
    ):
        return "W AW1 N D"
    return "W AW1 N D" if place.word(-1) == "tightly" else "W UW1 N D"


def _dove(place: Place) -> str:
    deep = words_of("into in under for down off headfirst deep right straight through below")
    return (
        "D OW1 V"
        if place.after(deep) and not place.before(DETERMINERS | words_of("white turtle mourning"))
        else "D AH1 V"
    )


def _polish(place: Place) -> str:
    if place.token == "Polish" and (place.i or place.tag == "JJ") and place.word(1) not in ("the", "your", "it", "up"):
        return "P OW1 L IH0 SH"
    return "P AA1 L IH0 SH"


def _used(place: Place) -> str:
    """`used to` of habit has a hissing s: he used to sing, they are used to it; but it is used to cut."""
    if place.word(1) != "to":
        return "Y UW1 Z D"
    habit = not place.before(words_of("is are was were be been being am it's that's commonly often widely"), 2)
    accustomed = place.word(2) in words_of("it this that the being having doing a his her my your our their them")
    person = place.before(words_of("i'm you're we're they're he's she's get got getting am"), 1)
    return "Y UW1 S T" if habit or accustomed or person else "Y UW1 Z D"


def _close(place: Place) -> str:
    if place.word(-1) == "the" and place.word(1) == "of":
        return "K L OW1 Z"
    near = place.after(words_of("to by enough together friend friends call up")) and place.word(-1) not in MODALS
    if near and place.word(1) != "up":
        return "K L OW1 S"
    return "K L OW1 Z" if place.is_verb() else "K L OW1 S"


def _invalid(place: Place) -> str:
    sick = place.before(words_of("the an elderly poor")) and (
        place.word(1) in ("", ".", ",", "!", "?") or place.word(1) in BE
    )
    return "IH1 N V AH0 L AH0 D" if sick else "IH0 N V AE1 L AH0 D"


def _sow(place: Place) -> str:
    return (
        "S OW1"
        if place.before(MODALS | SUBJECTS) or place.after(words_of("seeds the seed discord doubt crops"))
        else "S AW1"
    )


def _does(place: Place) -> str:
    return (
        "D OW1 Z" if place.before(words_of("the two three several these")) and place.after(BE | MODALS) else "D AH1 Z"
    )


def _content(place: Place) -> str:
    is_glad = place.before(BE | DEGREE) and place.word(1) in ("", ".", ",", "!", "?", "with", "to")
    return "K AH0 N T EH1 N T" if is_glad else "K AA1 N T EH0 N T"


def _moped(place: Place) -> str:
    return "M OW1 P EH2 D" if place.before(DETERMINERS, 2) else "M OW1 P T"


def _sewer(place: Place) -> str:
    """Who sews is rare: only one that does something to something."""
    acts = place.tags[place.i + 1 : place.i + 2] == ["VBD"] and place.word(2) in DETERMINERS
    return "S OW1 ER0" if acts else "S UW1 ER0"


def _mobile(place: Place) -> str:
    return "M OW0 B IY1 L" if place.after(words_of("alabama bay"), 2) else "M OW1 B AH0 L"


SPECIAL_HOMOGRAPHS: dict[str, Callable[[Place], str]] = {
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
    "invalid": _invalid,
    "sow": _sow,
    "does": _does,
    "moped": _moped,
    "content": _content,
    "houston": lambda place: "HH AW1 S T AH0 N" if place.word(1) == "street" else "HH Y UW1 S T AH0 N",
    "sewer": _sewer,
    "mobile": _mobile,
    "des": lambda place: "D AH0" if place.word(1) == "moines" else "D EH1 S",
    "moines": lambda place: "M OY1 N",
    "hors": lambda place: "AO0 R" if place.word(1).startswith("d'oeuvre") else "HH AO1 R Z",
    "louis": lambda place: "L UW1 IY0" if place.word(1) == "vuitton" else "L UW1 IH0 S",
}
