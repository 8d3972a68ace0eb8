"""English sentences, grammatical or spoilt in one place, as in the Corpus of Linguistic Acceptability (CoLA).

A spoilt sentence has one word in a form that is wrong there (*the keys near the lamp is old*, *the king can sings*,
*these dog*), or two neighbours in the wrong order (*dog the*, *door green*). The noun next to a verb may have another
number than the subject, so it does not tell which form is right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from zlib import crc32

SHARE_HELD_OUT = 5  # of the pairs of a subject and what is said of it, every fifth is held out


@dataclass
class _Word:
    """A word of a grammatical sentence, and what spoils it: `wrong` words in its place, or a swap with the next."""

    text: str
    wrong: tuple[str, ...] = ()
    swap: bool = False


@dataclass(frozen=True)
class _Verb:
    base: str
    third: str
    ing: str
    participle: str


Noun = tuple[str, ...]  # singular, plural


def _nouns(text: str) -> list[Noun]:
    return [tuple(pair.split("/")) if "/" in pair else (pair, f"{pair}s") for pair in text.split()]


def _verbs(text: str) -> list[_Verb]:
    return [_Verb(*verb.split("/")) for verb in text.split()]


PEOPLE = _nouns("""boy girl man/men woman/women king queen uncle aunt teacher doctor singer farmer child/children
    dentist neighbour student""")
HE = {"boy", "man", "king", "uncle"}
SHE = {"girl", "woman", "queen", "aunt"}
ANIMALS = _nouns("dog cat horse bird cow mouse/mice rabbit goose/geese duck")
OBJECTS = _nouns("table lamp book picture car key box/boxes knife/knives chair clock basket bicycle coat")
THINGS = OBJECTS + _nouns("house door window ship tree bridge garden castle")
PLACES = _nouns("house river garden tree bridge table door church/churches lake car wall castle")
PREPOSITIONS = ("near", "behind", "beside", "next to", "in front of")
ALONE = _verbs("""sleep/sleeps/sleeping/slept wait/waits/waiting/waited rest/rests/resting/rested
    play/plays/playing/played""")
HUMAN = _verbs("""sing/sings/singing/sung laugh/laughs/laughing/laughed work/works/working/worked
    dance/dances/dancing/danced smile/smiles/smiling/smiled talk/talks/talking/talked""")
TO_ANIMATE = _verbs("""see/sees/seeing/seen follow/follows/following/followed watch/watches/watching/watched
    know/knows/knowing/known like/likes/liking/liked help/helps/helping/helped find/finds/finding/found
    love/loves/loving/loved""")
TO_OBJECT = _verbs("""buy/buys/buying/bought draw/draws/drawing/drawn clean/cleans/cleaning/cleaned
    paint/paints/painting/painted sell/sells/selling/sold hide/hides/hiding/hidden choose/chooses/choosing/chosen
    need/needs/needing/needed""")
REFLEXIVE = _verbs(
    "wash/washes/washing/washed admire/admires/admiring/admired trust/trusts/trusting/trusted hide/hides/hiding/hidden"
)
STATIVE = {"know", "like", "love", "need", "see"}  # no progress; "must need" is odd
OF_ANIMATE = ["old", "young", "small", "big", "happy", "hungry", "tired", "clever", "quiet", "friendly"]
OF_THINGS = ["old", "new", "small", "big", "green", "red", "heavy", "white", "expensive", "pretty"]
OF_PLACES = ["old", "small", "big", "pretty"]


DETERMINERS = (
    ("the", "the", "this", "that", "a", "a", "every", "my"),
    ("the", "the", "these", "those", "some", "many", "two", "my"),
)
WRONG = {  # instead of a determiner, where the noun is singular (False) or plural (True)
    ("this", False): ("these",), ("that", False): ("those",), ("a", False): ("many", "these"),
    ("every", False): ("those", "two"), ("these", True): ("this",), ("those", True): ("that",),
    ("many", True): ("a", "every"), ("two", True): ("a", "this"),
}  # fmt: skip
KINDS = {  # how often; the subjects, what they do, and to what
    "animate": (3, PEOPLE + ANIMALS, TO_ANIMATE, PEOPLE + ANIMALS),
    "object": (4, PEOPLE, TO_OBJECT, OBJECTS),
    "alone": (2, PEOPLE + ANIMALS, ALONE, None),
    "human": (2, PEOPLE, HUMAN, None),
    "reflexive": (1, [pair for pair in PEOPLE if pair[0] in HE | SHE], REFLEXIVE, None),
    "is": (1, PEOPLE + ANIMALS, OF_ANIMATE, None),
    "thing is": (1, THINGS, OF_THINGS, None),
}


def sentence(generator: random.Random, held_out: bool, acceptable: bool) -> str:
    """A sentence in lower case; `held_out` says which subjects have which verbs and adjectives in it."""
    words = None
    while words is None:
        words = _grammatical(generator, held_out)
    texts = [word.text for word in words]
    if not acceptable:
        wrong = [i for i, word in enumerate(words) if word.wrong]
        swaps = [i for i, word in enumerate(words) if word.swap]
        if not swaps or (wrong and generator.random() < 0.75):
            i = generator.choices(wrong, [1 if words[i].swap else 2 for i in wrong])[0]  # verbs more than determiners
            texts[i] = generator.choice(words[i].wrong)
        else:
            i = generator.choice(swaps)
            texts[i : i + 2] = texts[i + 1], texts[i]
    return f"{' '.join(texts)}."


def _grammatical(generator: random.Random, held_out: bool) -> list[_Word] | None:
    """A sentence; None where this part of the data does not say such a thing of such a subject."""
    kind = generator.choices(list(KINDS), [often for often, *_ in KINDS.values()])[0]
    _, subjects, said, objects = KINDS[kind]
    (noun, nouns), what, plural = generator.choice(subjects), generator.choice(said), generator.random() < 0.5
    key = what if isinstance(what, str) else what.base
    if (crc32(f"{noun}/{key}".encode()) % SHARE_HELD_OUT == 0) != held_out:
        return None
    words = _noun_phrase(generator, (noun, nouns), plural, OF_THINGS if kind == "thing is" else OF_ANIMATE)
    if generator.random() < 0.4:
        words += _place(generator)
    if isinstance(what, str):
        one, many = generator.choice((("is", "are"), ("was", "were")))
        verb = _Word(many, (one,)) if plural else _Word(one, (many,))
        return [*words, verb, *([_Word("very")] if generator.random() < 0.3 else []), _Word(what)]
    words += _verb_phrase(generator, what, plural)
    if objects:
        return words + _any_noun_phrase(generator, objects, OF_THINGS if objects is OBJECTS else OF_ANIMATE)
    if kind == "reflexive":
        own, other = ("himself", "herself") if noun in HE else ("herself", "himself")
        return [*words, _Word("themselves", (own, other)) if plural else _Word(own, (other, "themselves"))]
    return words + (_place(generator) if generator.random() < 0.4 else [])


def _noun_phrase(generator: random.Random, noun: Noun, plural: bool, adjectives: list[str]) -> list[_Word]:
    determiner = generator.choice(DETERMINERS[plural])
    adjective = [_Word(generator.choice(adjectives), swap=True)] if generator.random() < 0.3 else []
    return [_Word(determiner, WRONG.get((determiner, plural), ()), swap=not adjective), *adjective, _Word(noun[plural])]


def _any_noun_phrase(generator: random.Random, nouns: list[Noun], adjectives: list[str]) -> list[_Word]:
    return _noun_phrase(generator, generator.choice(nouns), generator.random() < 0.5, adjectives)


def _place(generator: random.Random) -> list[_Word]:
    preposition = [_Word(word) for word in generator.choice(PREPOSITIONS).split()]
    return preposition + _any_noun_phrase(generator, PLACES, OF_PLACES)


def _verb_phrase(generator: random.Random, verb: _Verb, plural: bool) -> list[_Word]:
    """The verb, alone or with an auxiliary. *Sleeping is* would not do as a swap: *the dog sleeping is mine*."""
    finite, other = (verb.base, verb.third) if plural else (verb.third, verb.base)
    forms = (
        ("simple", "not") if verb.base in STATIVE else ("simple", "simple", "not", "modal", "perfect", "progressive")
    )
    form = generator.choice(forms)
    if form == "simple":
        return [_Word(finite, (other, verb.ing))]
    if form == "modal":
        return [_Word(generator.choice(("can", "will", "must")), swap=True), _Word(verb.base, (verb.third, verb.ing))]
    one, many = {"not": ("does", "do"), "perfect": ("has", "have"), "progressive": ("is", "are")}[form]
    auxiliary = _Word(many, (one,)) if plural else _Word(one, (many,))
    if form == "not":
        return [auxiliary, _Word("not"), _Word(verb.base, (verb.third, verb.ing))]
    if form == "perfect":
        return [auxiliary, _Word(verb.participle, (verb.third, verb.base))]
    return [auxiliary, _Word(verb.ing, (verb.third,))]
