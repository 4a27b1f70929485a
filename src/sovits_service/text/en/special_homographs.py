"""Homographs whose grammar needs more than the part of speech (`read`, `live`, `close`)."""

from __future__ import annotations

from collections.abc import Callable

from sovits_service.text.en.homograph_meanings import BY_MEANING
from sovits_service.text.en.word_context import (
    BE,
    CAUSATIVES,
    DEGREE,
    DETERMINERS,
    ENDS,
    HAVE,
    MODALS,
    OBJECTS,
    ONE,
    STARTS,
    SUBJECTS,
    Place,
    words_of,
)

_BY_NOW = words_of("yesterday ago last")


def _read(place: Place) -> str:
    before, after = place.word(-1), place.word(1)
    present, past = "R IY1 D", "R EH1 D"
    if before in MODALS or (before == "not" and place.word(-2) in MODALS) or before in ("a", "good", "great", "easy"):
        return present
    if place.before(SUBJECTS | ONE) and place.word(-2) in HAVE:
        return past
    if place.before(OBJECTS) and place.word(-2) in CAUSATIVES:
        return present
    if place.before(HAVE | BE, 3) and not place.before(
        MODALS | SUBJECTS | STARTS - {"never", "just", "always", "also"}, 2
    ):
        return past
    if before in ("well", "get", "got", "getting") or (before in HAVE | BE):
        return past
    if before in MODALS or (place.before(MODALS, 3) and not place.before(frozenset((".", ",")), 3)):
        return present
    if place.after(words_of("yesterday ago last earlier once"), 12) or before in words_of(
        "never already once just finally"
    ):
        return past
    if before in ONE or (before in ("who", "that") and place.tag == "VBD"):
        return past
    if place.tag_of(-1) == "RB" and place.word(-2) in ONE:
        return past
    if before in SUBJECTS and not _BY_NOW.isdisjoint(place.words[: place.i]):
        return past
    if before in SUBJECTS and place.after(words_of("every daily often"), 3):
        return present
    if (
        place.starts()
        or before in SUBJECTS
        or before in ("always", "often", "usually", "sometimes", "rarely", "seldom")
    ):
        told = "could" in place.words or any(tag == "VBD" and j != place.i for j, tag in enumerate(place.tags))
        return past if before in ("i", "we", "they", "and") and told and after != "books" else present
    if place.tag in ("VBD", "VBN") or place.tags[max(0, place.i - 1)] in ("NN", "NNP"):
        return past
    return present


def _live(place: Place) -> str:
    adverb_of = words_of(
        "go goes went going gone broadcast streamed stream streaming aired air airs watch watched watching "
        "perform performed "
        "performing play plays played playing sing sang recorded shown show seen see appear televised reporting "
        "reports coming heard spoke speak speaks "
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
    if place.word(-1) in ("still", "also") and place.word(-2) in BE:
        return "L AY1 V"
    if place.before(MODALS | SUBJECTS) or place.word(-1) in words_of(
        "people men women children families who still also"
    ):
        return "L AY1 V" if place.word(-1) == "we" and place.word(-2) in ("are",) else "L IH1 V"
    if place.is_asked() and place.tag_of(-1).startswith("N") and not place.after(shown):
        return "L IH1 V"
    if place.word(-1) == "so" and place.word(1) in ("in", "on", "with", "for"):
        return "L IH1 V"
    if place.after(shown) or place.before(adverb_of) or place.before(DETERMINERS | DEGREE | BE):
        return "L AY1 V"
    if place.word(-2) in adverb_of and place.word(1) in ENDS | words_of("on from at in to tonight now"):
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


def _used(place: Place) -> str:
    """`used to` of habit has a hissing s: he used to sing, they are used to it; but it is used to cut."""
    if place.word(1) != "to":
        return "Y UW1 Z D"
    habit = not place.before(words_of("is are was were be been being am it's that's commonly often widely"), 2)
    accustomed = place.word(2) in words_of("it this that the being having doing a his her my your our their them")
    person = place.before(words_of("i'm you're we're they're he's she's get got getting am"), 1)
    accustomed = accustomed or (place.word(2).endswith("ing") and len(place.word(2)) > 5)
    return "Y UW1 S T" if habit or accustomed or person else "Y UW1 Z D"


def _close(place: Place) -> str:
    if place.word(-1) == "the" and place.word(1) == "of":
        return "K L OW1 Z"
    ends = place.word(1) in ENDS
    if (ends and place.word(-1) == "a") or (ends and place.word(-2) == "at" and place.word(-1) == "the"):
        return "K L OW1 Z"
    shut = place.after(words_of("for early on when today tomorrow around at in")) and place.word(2) != "hand"
    if place.tag_of(-1) == "NNS" and shut:
        return "K L OW1 Z"
    near = place.after(words_of("to by enough together friend friends call up")) and place.word(-1) not in MODALS
    if near and place.word(1) != "up":
        return "K L OW1 S"
    return "K L OW1 Z" if place.is_verb() else "K L OW1 S"


def _content(place: Place) -> str:
    seems = words_of("seem seems seemed look looks looked feel feels felt appear appeared perfectly not quite")
    is_asked = place.before(SUBJECTS | ONE) and place.word(-2) in BE
    is_glad = is_asked or place.before(BE | DEGREE | seems) or (place.word(-1).endswith("ly") and place.word(-2) in BE)
    is_glad = is_glad and place.word(1) in ENDS | words_of("with to after when")
    return "K AH0 N T EH1 N T" if is_glad else "K AA1 N T EH0 N T"


def _aged(place: Place) -> str:
    """Two syllables of old people, one of cheese and of an age in years."""
    people = words_of(
        "couple man men woman women people parent parents mother father relative relatives person lady gentleman aunt "
        "uncle grandmother grandfather grandparents population king queen hermit priest servant"
    )
    things = words_of("cheese cheddar gouda wine whiskey whisky rum beef meat steak oak wood vinegar leather brick")
    elders = place.word(-1) == "the" and not place.after(things)
    return "EY1 JH IH0 D" if place.after(people) or elders else "EY1 JH D"


def _blessed(place: Place) -> str:
    holy = place.before(DETERMINERS) or place.tag_of(1) == "NNP" or (place.starts() and place.word(1) == "are")
    return "B L EH1 S IH0 D" if holy and not place.before(BE | DEGREE) else "B L EH1 S T"


def _learned(place: Place) -> str:
    people = words_of(
        "man men woman friend scholar scholars professor judge society societies journal journals doctor gentleman "
        "gentlemen colleague brother counsel people person treatise"
    )
    wise = place.after(people) and not place.before(SUBJECTS | ONE)
    return "L ER1 N IH0 D" if wise else "L ER1 N D"


SPECIAL_HOMOGRAPHS: dict[str, Callable[[Place], str]] = {
    **BY_MEANING,
    "read": _read,
    "live": _live,
    "lives": _lives,
    "used": _used,
    "close": _close,
    "aged": _aged,
    "blessed": _blessed,
    "learned": _learned,
    "content": _content,
}
