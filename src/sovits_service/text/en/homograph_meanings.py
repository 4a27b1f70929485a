"""Homographs whose meanings the words around tell apart (`lead`, `bass`, `wound`)."""

from __future__ import annotations

from collections.abc import Callable

from sovits_service.text.en.word_context import (
    BE,
    DEGREE,
    DETERMINERS,
    ENDS,
    HAVE,
    MODALS,
    ONE,
    SUBJECTS,
    Place,
    words_of,
)


def _lead(place: Place) -> str:
    metal = words_of(
        "pipe pipes paint paints poisoning pencil pencils shot bullet bullets acid oxide weight weights ore "
        "glass crystal roof "
        "mine mines contamination levels exposure plate plates solder ions battery batteries content-free lined "
        "apron plumbing "
        "sheet sheets compounds alloy zinc copper tin pellets mining smelting smelter poisoned"
    )
    metals = words_of(
        "zinc copper iron tin mercury silver gold arsenic steel cadmium molten liquid pencil pure metal heavy"
    )
    if place.before(BE) and place.word(1) in ENDS and not metal.isdisjoint(place.words):
        return "L EH1 D"  # the pipes were lead
    if place.word(1) == "out" and place.word(-1) == "the" and place.before(words_of("get gets got getting"), 2):
        return "L EH1 D"  # get the lead out
    if place.after(metal) and not place.is_verb():
        return "L EH1 D"
    roles = words_of("singer singers actor actress vocalist guitar guitarist role roles author developer time over")
    if place.word(1) == "balloon" or (place.word(-1) == "of" and not place.after(roles)):
        return "L EH1 D"
    if place.after(words_of("is was has tends")) and not place.before(DETERMINERS) and place.tag_of(-1)[:1] != "N":
        return "L EH1 D"  # a noun without an article
    if place.word(1) == "in" and place.after(words_of("paint water gasoline petrol pipes blood soil air"), 4):
        return "L EH1 D"
    if place.word(-1) in words_of(
        "of with contain contains contained containing like from for melt melted"
    ) and place.word(1) in ENDS | words_of("and or"):
        return "L EH1 D"
    if not place.is_verb() and any(
        w in ("pencil", "pencils", "pencil's") for w in place.words[max(0, place.i - 6) : place.i]
    ):
        return "L EH1 D"
    if place.word(-1) in metals or (place.word(-1) in ("and", "or", ",") and place.word(-2) in metals):
        return "L EH1 D"
    return "L IY1 D"


def _present(place: Place) -> str:
    """`All members present voted`: there, not given."""
    there = place.tag_of(-1) == "NNS" and place.tag_of(1).startswith("V")
    return "P R IY0 Z EH1 N T" if place.is_verb() and not there else "P R EH1 Z AH0 N T"


def _row(place: Place) -> str:
    """A quarrel, by what it is like or what it is over."""
    heated = words_of("terrible blazing furious heated bitter almighty diplomatic political flaming shouting unholy")
    breaks_out = words_of("erupted erupts broke flared")
    quarrel = (place.before(heated) and place.word(1) != "of") or place.after(breaks_out)
    return "R AW1" if quarrel else "R OW1"


def _wind(place: Place) -> str:
    turned = words_of("up down the it a your its through around back along yarn")
    if (
        place.word(-1) in MODALS
        and (place.word(1) in turned or place.word(-1) != "to")
        and place.word(1) not in ("power", "turbine", "turbines")
    ):
        return "W AY1 N D"
    goes = place.after(words_of("through around up down along past between")) or place.word(1).endswith("ly")
    if place.tag_of(-1) == "NNS" and goes:
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
    shed = words_of("back fought blinked brushed shed single wept wiped wipe cry cried crying")
    return "T IH1 R" if place.before(shed, 2) and place.word(-1) != "to" and not place.is_verb() else "T EH1 R"


def _tears(place: Place) -> str:
    if place.word(1) == "up" and place.word(2) in words_of(". , every when whenever at as easily just watching") | {""}:
        return "T IH1 R Z"  # weeps
    if place.before(ONE) or (place.after(words_of("apart up down through off away")) and place.tag.startswith("V")):
        return "T EH1 R Z"
    if place.before(words_of("muscle ligament rotator cuff paper")) or (
        place.word(1) == "in"
        and place.word(2) in ("the", "his", "her")
        and (place.word(3) in words_of("fabric paper muscle cloth sail net shirt curtain roof fence jeans dress tent"))
    ):
        return "T EH1 R Z"
    return "T IH1 R Z"


def _bow(place: Place) -> str:
    """Of a ship or of courtesy as in how; of an archer, a violin or a ribbon as in go."""
    at_sea = words_of(
        "ship ship's ships vessel vessels boat boat's boats stern deck hull torpedo sailed sailors cannon ram "
        "submarine starboard thruster waves wave harbor"
    )
    shoots = words_of("arrow arrows archer archers archery hunters hunter hunting quiver string violin cello ribbon")
    if not shoots.isdisjoint(place.words) or place.after(words_of("tie ties window river street legged")):
        return "B OW1"
    polite = place.before(words_of("final deep low slight polite little quick respectful")) or place.before(
        words_of("take took takes taking taken"), 3
    )
    if polite or place.is_verb() or place.starts() or not at_sea.isdisjoint(place.words):
        return "B AW1"
    return "B AW1" if place.after(words_of("to before down out")) or place.word(-2) == "at" else "B OW1"


_NUMBERS = words_of("one two three four five ten fifteen twenty thirty forty sixty ninety every each per last final")
_TIMED = words_of(
    "walks intervals breaks minutes other hands counts hand steak ago later or mark silence break "
    "walk drive ride rest today more and longer early late"
)


def _bass(place: Place) -> str:
    fish = words_of("sea striped largemouth smallmouth black caught catch grilled fried white fresh baked freshwater")
    fishy = words_of("fishing fillet fillets pond lake boat tournament swim swims swam")
    water = any(word in fishy for word in place.words[place.i + 1 : place.i + 5])
    caught = not words_of("trout salmon perch catfish").isdisjoint(place.words)
    return "B AE1 S" if place.before(fish, 3) or water or caught else "B EY1 S"


def _minute(place: Place) -> str:
    if place.word(-1) == "so":
        return "M AY0 N UW1 T"
    if place.tag_of(1) in ("NNS", "JJ") and not (
        place.before(_NUMBERS) or place.tag_of(-1) == "CD" or place.word(1) in _TIMED
    ):
        return "M AY0 N UW1 T"
    if place.word(-1) in ("a", "every") and place.tag_of(1) == "NN" and place.word(1) not in _TIMED:
        return "M AY0 N UW1 T"
    tiny = words_of(
        "detail details amount amounts quantity quantities difference differences particles particle fraction "
        "traces changes"
    )
    return (
        "M AY0 N UW1 T"
        if place.after(tiny)
        or (place.before(BE) and place.word(1) in ENDS | words_of("but compared"))
        or (place.before(DEGREE - {"as", "more", "so"}) and place.word(1) != "of")
        else "M IH1 N AH0 T"
    )


def _wound(place: Place) -> str:
    if place.before(ONE) and not place.is_asked():
        return "W AW1 N D"  # who wounds has an s
    turned = words_of("up around down through its back along past tightly between itself themselves")
    if place.after(turned) and not place.before(DETERMINERS):
        return "W AW1 N D"
    if (
        place.word(-1) in words_of("tightly he she it clock i we they river road path")
        and place.tag.startswith("V")
        and place.word(1) in ("the", "a", "it")
    ):
        return "W AW1 N D"
    coiled = words_of("watch clock bandage rope scarf wool yarn string cable wire tape thread hose spring film coil")
    if place.tag.startswith("V") and not place.before(BE | HAVE) and place.after(coiled, 3):
        return "W AW1 N D"
    around = place.word(2) in ("around", "round") and not place.before(DETERMINERS | BE)
    return "W AW1 N D" if place.word(-1) == "tightly" or around else "W UW1 N D"


def _dove(place: Place) -> str:
    deep = words_of(
        "into in under for down off headfirst deep right left straight through below to over toward towards beneath "
        "across between behind"
    )
    dives = place.after(deep) and not place.before(DETERMINERS | words_of("white turtle mourning"))
    return "D OW1 V" if dives or place.before(SUBJECTS | ONE) else "D AH1 V"


def _polish(place: Place) -> str:
    if place.token == "Polish" and (place.i or place.tag == "JJ") and place.word(1) not in ("the", "your", "it", "up"):
        return "P OW1 L IH0 SH"
    return "P AA1 L IH0 SH"


def _invalid(place: Place) -> str:
    ends = ENDS | BE | words_of("for since in who and after until at")
    adult = place.before(words_of("elderly poor old bedridden")) and not place.tag_of(1).startswith("N")
    sick = adult or (place.before(words_of("the an")) and place.word(1) in ends)
    return "IH1 N V AH0 L AH0 D" if sick else "IH0 N V AE1 L AH0 D"


def _sow(place: Place) -> str:
    """The animal has an article or an adjective."""
    animal = place.before(DETERMINERS) or (place.before(DETERMINERS, 3) and place.tag_of(-1).startswith(("J", "N")))
    return "S AW1" if animal or place.after(words_of("thistle thistles")) else "S OW1"


def _does(place: Place) -> str:
    deer = place.before(words_of("the two three several these")) and place.word(1) not in ("not", "it", "he", "she")
    return "D OW1 Z" if deer else "D AH1 Z"


def _refuse(place: Place) -> str:
    """Waste is the rarer word."""
    is_object = place.tag_of(-1).startswith(("J", "VB")) and not place.before(MODALS | BE)
    named = place.before(words_of("of household with in into from")) or place.after(
        words_of("collection bin bins dump dumps heap heaps truck trucks disposal tip")
    )
    waste = place.before(DETERMINERS) or ((named or is_object) and place.word(1) not in ("to", "and"))
    return "R EH1 F Y UW2 Z" if waste else "R IH0 F Y UW1 Z"


def _sake(place: Place) -> str:
    """For somebody's sake; without an owner it is rice wine."""
    owned = place.word(-1).endswith(("'s", "s'", "'")) or place.before(DETERMINERS | words_of("own old goodness very"))
    wine = place.before(words_of("hot cold warm japanese rice")) or place.after(words_of("cup cups bottle bottles bar"))
    return "S EY1 K" if owned and not wine else "S AA1 K IY0"


def _reading(place: Place) -> str:
    """The town, by its capital within a sentence."""
    town = place.i and place.token == "Reading" and place.before(words_of("in from near at to of"))
    return "R EH1 D IH0 NG" if town else "R IY1 D IH0 NG"


def _axes(place: Place) -> str:
    tools = words_of("battle throwing stone bronze pick fire swords hammers knives saws spears shovels wielded swung")
    return "AE1 K S IH0 Z" if not tools.isdisjoint(place.words) else "AE1 K S IY0 Z"


def _moped(place: Place) -> str:
    sulks = place.before(ONE | SUBJECTS | words_of("just and")) or place.after(words_of("around about over all"))
    return "M OW1 P T" if sulks and not place.before(DETERMINERS, 2) else "M OW1 P EH2 D"


def _sewer(place: Place) -> str:
    """Who sews is rare: only one that does something to something."""
    acts = place.tags[place.i + 1 : place.i + 2] == ["VBD"] and place.word(2) in DETERMINERS
    return "S OW1 ER0" if acts else "S UW1 ER0"


def _mobile(place: Place) -> str:
    return "M OW0 B IY1 L" if place.after(words_of("alabama bay"), 2) else "M OW1 B AH0 L"


BY_MEANING: dict[str, Callable[[Place], str]] = {
    "lead": _lead,
    "wind": _wind,
    "winds": _winds,
    "tear": _tear,
    "tears": _tears,
    "row": _row,
    "present": _present,
    "bow": _bow,
    "bass": _bass,
    "minute": _minute,
    "wound": _wound,
    "dove": _dove,
    "polish": _polish,
    "invalid": _invalid,
    "sow": _sow,
    "does": _does,
    "axes": _axes,
    "celtic": lambda place: "S EH1 L T IH0 K" if place.before(words_of("boston glasgow")) else "K EH1 L T IH0 K",
    "moped": _moped,
    "nestle": lambda place: "N EH1 S L EY0" if place.token == "Nestle" and place.i else "N EH1 S AH0 L",
    "reading": _reading,
    "refuse": _refuse,
    "sake": _sake,
    "houston": lambda place: "HH AW1 S T AH0 N" if place.word(1) == "street" else "HH Y UW1 S T AH0 N",
    "sewer": _sewer,
    "mobile": _mobile,
    "des": lambda place: "D AH0" if place.word(1) == "moines" else "D EH1 S",
    "lima": lambda place: "L AY1 M AH0" if place.after(words_of("bean beans")) else "L IY1 M AH0",
    "moines": lambda place: "M OY1 N",
    "hors": lambda place: "AO0 R" if place.word(1).startswith("d'oeuvre") else "HH AO1 R Z",
    "louis": lambda place: "L UW1 IY0" if place.word(1) == "vuitton" else "L UW1 IH0 S",
}
