"""A word's part of speech from the words and tags around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    "due thanks attributed "
    "access according contribute contributed contributes contributing relative attention addition response "
    "opposed"
)
TO_EITHER = words_of(
    "related prone close next committed commitment approach key path road leads led lead leading used dedicated "
    "devoted entitled limited subject similar equal linked and back"
)
STARTS_AN_ORDER = words_of("upgrade object convert transfer rebel export import")
OBJECTS = words_of("it me him them us you himself herself themselves yourself myself ourselves itself")
SUBJECTS = words_of("i you we they who")
ONE = words_of("he she it")
DEGREE = words_of("very so too more most quite rather really extremely pretty less least how as")
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


def tag_in_context(place: Place) -> str:
    """The tagger's tag, but where the words beside leave no doubt: it was trained on news, not on what people say."""
    tag = place.tag
    noun = tag if tag.startswith(("N", "J", "R")) else "NN"
    verb = tag if tag.startswith("V") else "VB"
    before, after = place.word(-1), place.word(1)
    word = place.words[place.i]
    if after in BE and before not in MODALS:
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
        if before == "to" and (place.word(-2) in TO_A_THING or (place.word(-2) in TO_EITHER and tag.startswith("N"))):
            return noun
        return verb
    if before == "not" and place.word(-2) in MODALS:
        return verb
    if place.before(SUBJECTS) or (before in ONE and word.endswith("s")):
        return verb
    if before in BE and not tag.startswith("VB"):
        return noun
    if before in DEGREE and after in ("", ".", ",", "!", "?"):
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
