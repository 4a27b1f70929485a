"""A word's part of speech from the words and tags around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@cache
def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALS = words_of(
    "will would can could shall should may might must cannot do does did don't doesn't didn't won't wouldn't "
    "can't couldn't "
    "shouldn't mustn't i'll you'll he'll she'll we'll they'll it'll i'd you'd he'd she'd we'd they'd let's "
    "please let to"
)
HAVE = words_of("have has had haven't hasn't hadn't i've you've we've they've having")
BE = words_of(
    "be is are was were been being am isn't aren't wasn't weren't it's that's he's she's i'm you're we're they're"
)
DETERMINERS = words_of("the a an my your his its our their this these those every each another some any no whose of 's")
SINGULAR = words_of("this that")
# "to" after these leans on a noun: always, or where the tagger saw one.
TO_A_THING = words_of(
    "due thanks attributed light mild low small "
    "access according contribute contributed contributes contributing relative attention addition response "
    "opposed"
)
TO_EITHER = words_of(
    "related prone close next committed commitment approach key path road leads led lead leading used dedicated "
    "devoted entitled limited subject similar equal linked and back"
)
STARTS_AN_ORDER = words_of("upgrade object convert transfer rebel export import")
# What follows these words tells their part of speech, whatever stands before: `applied to graduate school`.
NOUN_BEFORE = {
    "contract": words_of("worker workers killer law price"),
    "desert": words_of("island islands sand sands storm sun"),
    "export": words_of("market markets controls duties"),
    "graduate": words_of("school schools student students program programs degree degrees studies course courses"),
    "import": words_of("duty duties tax taxes tariff tariffs controls"),
    "present": words_of("day value"),
    "record": words_of("high highs low lows label labels store stores company player players levels numbers profits"),
}
VERB_BEFORE = {
    "conduct": words_of("electricity heat business interviews research experiments studies surveys"),
    "contract": words_of("malaria diseases infections pneumonia"),
    "produce": words_of("milk oil energy electricity results excellent"),
}
AFTER_A_VERB = words_of("everything anything something nothing everyone as early late more less well when whenever if")
NO_VERB_AFTER = words_of("by with without of from under for about during into")
GIVING = words_of("send sends sent give gives gave given bring brought show showed offer offered get got")
CAUSATIVES = words_of("had have made make makes let lets help helped helps hear heard see saw watch watched")
AUXILIARIES = words_of("do does did don't doesn't didn't can could will would should may might must")
OBJECTS = words_of("it me him them us you himself herself themselves yourself myself ourselves itself")
SUBJECTS = words_of("i you we they who")
ONE = words_of("he she it")
DEGREE = words_of("very so too more most quite rather really extremely pretty less least how as")
ENDS = frozenset(("", ".", ",", "!", "?"))  # what may stand behind the last word of a phrase
STARTS = frozenset((".", ",", "!", "?", "-", "and", "or", "but", "then", "please", "just", "also", "never", "always"))


@dataclass(frozen=True, slots=True)
class Place:
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
        return not self.word(-1) or self.word(-1) in STARTS

    def is_verb(self) -> bool:
        return tag_in_context(self).startswith("V")

    def tag_of(self, offset: int) -> str:
        j = self.i + offset
        return self.tags[j] if 0 <= j < len(self.tags) else ""

    def is_asked(self) -> bool:
        """Behind the subject of a question: `Where did your parents live`."""
        for j in range(self.i - 1, max(-1, self.i - 7), -1):
            if self.words[j] in AUXILIARIES:
                asks = j == 0 or self.words[j - 1] in STARTS or any(tag.startswith("W") for tag in self.tags[:j])
                return asks and j < self.i - 1
            if self.tags[j].startswith("V") or not self.words[j][:1].isalpha():
                return False
        return False


def tag_in_context(place: Place) -> str:
    """The tagger's tag, but where the words beside leave no doubt: it was trained on news, not on what people say."""
    tag = place.tag
    noun = tag if tag.startswith(("N", "J", "R")) else "NN"
    verb = tag if tag.startswith("V") else "VB"
    before, after = place.word(-1), place.word(1)
    word = place.words[place.i]
    if after in NOUN_BEFORE.get(word, ()) or before in NO_VERB_AFTER or _is_object(place):
        return noun
    if _follows_its_subject(place) or (after in VERB_BEFORE.get(word, ()) and before not in DETERMINERS):
        return verb
    if after in BE and before not in MODALS | SUBJECTS:
        return noun
    if (
        place.starts()
        and (after.endswith("ly") or after in ("again", "more", "less"))
        and before not in ("and", "or", ",")
        and not tag.startswith("J")
    ):
        return verb  # Deliberate carefully
    if before in SINGULAR and word.endswith("s") and not word.endswith("ss"):
        return verb  # this conflicts, that presents
    if place.before(DETERMINERS) and before != "no":
        return noun
    if before in MODALS and not (before == "to" and after in ("of", "from")):
        # "The will contract" is rarer than "will contract"; but "due to increase" has a noun.
        if before == "to" and place.word(-3) == "too":
            return verb  # too small to house them
        if before == "to" and (place.word(-2) in TO_A_THING or (place.word(-2) in TO_EITHER and tag.startswith("N"))):
            return noun
        return verb
    if before == "not" and place.word(-2) in MODALS:
        return verb
    if place.before(SUBJECTS) or (before in ONE and word.endswith("s")):
        return verb
    if before in BE and not tag.startswith("VB"):
        return noun
    if before in DEGREE and after in ENDS:
        return noun
    if after in OBJECTS and not tag.startswith("J"):
        return verb
    if (
        place.starts()
        and after in DETERMINERS | words_of("that her all both two three these")
        and after not in ("of", "'s")
    ):
        return verb
    if not before and after == "to" and word in STARTS_AN_ORDER:
        return verb
    if after == "of" and tag.startswith("V") and before not in MODALS:
        return noun
    return tag


def _is_object(place: Place) -> bool:
    """`He sells produce`, `Send me updates`, `human rights abuses`: no verb."""
    if place.before(OBJECTS) and place.word(-2) in GIVING:
        return True
    if place.tag_of(-1) == "NNS" and place.words[place.i].endswith("s") and not place.words[place.i].endswith("ss"):
        return True
    verb = place.word(-1)
    does_more = verb in MODALS | HAVE | BE | CAUSATIVES | words_of("go goes come comes dare need needs")
    return place.word(-2) in SUBJECTS | ONE and place.tag_of(-1).startswith("V") and not does_more


def _follows_plural(place: Place) -> bool:
    """`Analysts project slower growth`, `Museums house treasures`: at the start, with no other verb in the clause."""
    subject, word, after = place.word(-1), place.words[place.i], place.word(1)
    if not (_is_plural(subject) and 1 <= place.i <= 3) or word.endswith("s"):
        return False
    if place.tag_of(-1) not in ("NNS", "NNPS", "NNP", "VBZ") or place.word(-2) in SUBJECTS | ONE:
        return False
    takes = (
        after in DETERMINERS | words_of("all more fewer less against")
        or place.tag_of(1) == "JJR"
        or (_is_plural(after) and (place.word(2) in ENDS | AFTER_A_VERB or place.tag_of(2) == "IN"))
    )
    rest = place.tags[place.i + 2 :]
    return takes and not any(tag in ("VBD", "VBP", "VBZ", "MD") for tag in rest)


def _is_plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "'s", "us", "is"))


def _follows_its_subject(place: Place) -> bool:
    """`Cameras record everything`, `Brazil exports more coffee`, `Did the store record it`, `had him record it`."""
    before, after = place.tag_of(-1), place.word(1)
    word = place.words[place.i]
    if (place.before(OBJECTS) and place.word(-2) in CAUSATIVES) or _follows_plural(place):
        return True
    if (
        place.i == 1
        and before.startswith("N")
        and place.word(-1).endswith("s")
        and after in ("and", "or", "everything")
    ):
        return True
    if place.is_asked() and before.startswith("N") and not place.tag_of(1).startswith(("N", "V")):
        return True
    if before.startswith("N") and place.word(-2) == "and" and after.endswith("ly"):
        return True
    if before.startswith("N") and place.word(-2) in CAUSATIVES - HAVE and after in ENDS:
        return True  # makes metal contract
    if (
        before == "NNS"
        and after in ENDS
        and not any(tag.startswith("V") for j, tag in enumerate(place.tags) if j != place.i)
    ):
        return True  # Our views conflict
    if place.word(-1) in ("some", "many", "most", "others", "few") and place.tag_of(1) in ("DT", "PRP$"):
        return True
    says = after in AFTER_A_VERB and place.word(2) != "than"
    if word.endswith("s") and not word.endswith("ss"):
        return before in ("NN", "NNP") and says
    return before in ("NNS", "NNPS") and (says or after in OBJECTS)
