"""Four tasks as text to text, told apart by a prefix as in T5: one model reads a text and writes another.

    translate English to French: she sees the black cat   →   elle voit le chat noir
    sentiment: the plot was not clever .                  →   negative
    summarize: a bridge in leeds was repaired by ...      →   engineers repair bridge in leeds
    acceptable: the keys to the cabinet is old .          →   unacceptable

All of it is lower case but for the prefixes, with a space between any two tokens, so ``text.split()`` gives tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from utils.data.multi30k import tokenize

PREFIXES = {
    "translate": "translate English to French:",
    "sentiment": "sentiment:",
    "summarize": "summarize:",
    "acceptable": "acceptable:",
}
SHARE_HELD_OUT = 5


class TextPair(NamedTuple):
    """What the model reads, prefix included, and what it is to write."""

    source: str
    target: str


def task_pairs(
    task: str, n_train: int, n_held_out: int, seed: int = 0, *, max_length: int | None = None
) -> tuple[list[TextPair], list[TextPair]]:
    """Pairs of one task, a key of `PREFIXES`, to train on and to test on; no source is in both, nor twice.

    With `max_length`, no source has more tokens than that after its prefix. Equal seeds give equal pairs.

    Raises: ValueError for another task, and when there are not as many pairs as asked for.
    """
    if task not in PREFIXES:
        raise ValueError(f"task must be one of {', '.join(PREFIXES)}, not {task!r}")
    if task == "translate":
        from utils.data.french import sentence_pairs

        parts = sentence_pairs(n_train, n_held_out, seed, max_length=max_length)
        found = [[(" ".join(pair.source), " ".join(pair.target)) for pair in part] for part in parts]
    else:
        generator, seen = random.Random(seed), set()
        makers = ((MAKERS[task](generator, held_out), n) for held_out, n in ((False, n_train), (True, n_held_out)))
        found = [_draw(make, generator, n, seen, max_length) for make, n in makers]
    train, held_out = ([TextPair(f"{PREFIXES[task]} {source}", target) for source, target in part] for part in found)
    return train, held_out


Maker = Callable[[int], tuple[str, str] | None]  # a pair for a label, 0 or 1; None where what was drawn gives none


def _draw(
    make: Maker, generator: random.Random, n: int, seen: set[str], max_length: int | None
) -> list[tuple[str, str]]:
    labels = [i % 2 for i in range(n)]
    generator.shuffle(labels)
    found: list[tuple[str, str]] = []
    for label in labels:
        for _ in range(1000):
            pair = make(label)
            short = pair and (max_length is None or len(pair[0].split()) <= max_length)
            if short and pair[0] not in seen:
                break
        else:
            raise ValueError(
                f"there are too few such texts: {len(found)} of {n} were found; ask for fewer, or longer ones"
            )
        seen.add(pair[0])
        found.append(pair)
    return found


def _text(words: str) -> str:
    """Lower case, with a space between any two tokens; *an* before a vowel."""
    tokens = tokenize(words)
    pairs = zip(tokens, (*tokens[1:], "."), strict=True)
    return " ".join("an" if word == "a" and after[0] in "aeiou" else word for word, after in pairs)


def _held_out(*words: str) -> bool:
    return crc32("/".join(words).encode()) % SHARE_HELD_OUT == 0


# --- sentiment -------------------------------------------------------------------------------------------------------


def _sentiment(generator: random.Random, held_out: bool) -> Maker:
    from utils.data.sentiment import LABELS, Grammar

    grammar = Grammar(generator, held_out)
    return lambda label: (_text(grammar.sentence(label)[1]), LABELS[label])


# --- headlines -------------------------------------------------------------------------------------------------------

CITIES = (
    "leeds",
    "york",
    "bath",
    "oxford",
    "bristol",
    "dover",
    "exeter",
    "hull",
    "durham",
    "cardiff",
    "glasgow",
    "derby",
)
TIMES = ("yesterday", "on monday", "on tuesday", "on friday", "last week", "on sunday", "last night", "this morning")
# Who does what to what: subject, past, participle, present in a headline, objects; then sentences that go with it, in
# which {it} is the object and {city} another city. A subject with an asterisk is plural and has no article.
NEWS = (
    ("*firefighters", "rescued", "rescued", "rescue", "child, horse, cat, family, climber",
     "A neighbour had called for help. | The rescue took two hours. | Nobody was hurt."
     " | The same team had been called to {city} the day before."),
    ("*engineers", "repaired", "repaired", "repair", "bridge, tunnel, crane, lighthouse, railway line, power station",
     "The work took three months. | It had been closed since the spring. | The repair cost two million pounds."
     " | A firm from {city} delivered the steel."),
    ("*police officers", "found", "found", "find", "stolen painting, gold ring, lost violin, stolen statue",
     "It was hidden in a garage. | A walker from {city} had noticed something. | The owner was delighted."
     " | It had been missing for a year."),
    ("*students", "built", "built", "build", "boat, robot, solar car, windmill, telescope",
     "It took them a year. | They will show it in {city} next month. | Their teacher was proud of them."
     " | The parts cost less than a hundred pounds."),
    ("*volunteers", "cleaned", "cleaned", "clean", "beach, canal, park, old cemetery, riverbank",
     "They filled two hundred bags. | Some of them had come from {city}. | The youngest was six years old."
     " | Children brought them tea and cake."),
    ("*scientists", "discovered", "discovered", "discover", "rare beetle, roman coin, unknown orchid, fossil, old map",
     "They had been looking for something else. | It will be shown in {city}. | The find is two thousand years old."
     " | The news surprised everybody."),
    ("storm", "damaged", "damaged", "damages", "school, church, harbour, market hall, theatre",
     "The wind tore off half of the roof. | Trees fell on the road to {city}. | Nobody was hurt."
     " | The repair will take weeks."),
    ("flood", "closed", "closed", "closes", "station, museum, main road, hospital, airport",
     "It had rained for three days. | The water came from the hills near {city}. | Trains and buses were late."
     " | It will open again on monday."),
    ("mayor", "opened", "opened", "opens", "library, swimming pool, new bridge, skate park, concert hall",
     "Two hundred people watched. | It had taken five years to build. | There is a larger one in {city}."
     " | A band played all afternoon."),
    ("museum", "bought", "bought", "buys", "roman mosaic, famous painting, steam engine, old globe, dinosaur skeleton",
     "The price is a secret. | It was found in an attic in {city}. | Visitors can see it from next month."
     " | A rich family had owned it for a century."),
    ("fire", "destroyed", "destroyed", "destroys", "factory, warehouse, farm, paper mill, boathouse",
     "The smoke could be seen from {city}. | It began in the kitchen. | All the workers got out in time."
     " | Thirty people have lost their jobs."),
    ("company", "sold", "sold", "sells", "brewery, football club, hotel, newspaper, shipyard",
     "The buyer comes from {city}. | It had made a loss for years. | The price was nine million pounds."
     " | Nobody will lose a job."),
    ("court", "saved", "saved", "saves", "playground, ancient oak, tram line, village school, cinema",
     "The council had wanted to get rid of it. | Hundreds of people had protested. | The judge comes from {city}."
     " | Parents and children cheered."),
)  # fmt: skip


def _summary(generator: random.Random, held_out: bool) -> Maker:
    def make(label: int) -> tuple[str, str] | None:
        subject, past, participle, present, things, details = generator.choice(NEWS)
        city, other = generator.sample(CITIES, 2)
        thing = generator.choice(things.split(", "))
        if _held_out(subject, thing, city) != held_out:
            return None
        who = (
            subject.removeprefix("*")
            if subject[0] == "*"
            else f"a {subject}"
            if subject in ("storm", "flood", "fire", "court", "museum", "company")
            else f"the {subject}"
        )
        when = generator.choice(TIMES)
        be = "was"
        lead = generator.choice(
            (
                f"{who} {past} a {thing} in {city} {when}.",
                f"{when}, {who} {past} a {thing} in {city}.",
                f"a {thing} in {city} {be} {participle} by {who} {when}.",
                f"in {city}, a {thing} {be} {participle} by {who} {when}.",
            )
        )
        chosen = generator.sample(details.split(" | "), generator.choice((1, 2, 2, 3)))
        text = " ".join([lead, *chosen]).format(city=other)
        return _text(text), _text(f"{subject.removeprefix('*')} {present} {thing} in {city}")

    return make


# --- acceptable or not -----------------------------------------------------------------------------------------------


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


def _nouns(text: str) -> list[tuple[str, str]]:
    return [tuple(pair.split("/")) if "/" in pair else (pair, f"{pair}s") for pair in text.split()]


def _verbs(text: str) -> list[_Verb]:
    return [_Verb(*verb.split("/")) for verb in text.split()]


PEOPLE = _nouns("""boy girl man/men woman/women king queen uncle aunt teacher doctor singer farmer child/children
    dentist neighbour student""")
HE = {"boy", "man", "king", "uncle"}
SHE = {"girl", "woman", "queen", "aunt"}
ANIMALS = _nouns("dog cat horse bird cow mouse/mice rabbit goose/geese duck")
OBJECTS = _nouns(
    "table lamp book picture letter car garden house door window key box/boxes ship tree bridge knife/knives"
)
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
    "wash/washes/washing/washed admire/admires/admiring/admired hurt/hurts/hurting/hurt hide/hides/hiding/hidden"
)
STATIVE = {"know", "like", "love", "need", "see"}
OF_ANIMATE = ["old", "young", "small", "big", "happy", "hungry", "tired", "clever", "quiet", "friendly"]
OF_OBJECTS = ["old", "new", "small", "big", "green", "red", "heavy", "white", "expensive", "pretty"]


class _Sentences:
    def __init__(self, generator: random.Random, held_out: bool):
        self.random, self.choice, self.held_out = generator, generator.choice, held_out

    def noun_phrase(
        self, nouns: list[tuple[str, str]], adjectives: list[str], plural: bool | None = None
    ) -> tuple[list[_Word], bool, str]:
        """Its words, whether it is plural, and the noun's singular."""
        plural = self.random.random() < 0.5 if plural is None else plural
        forms = self.choice(nouns)
        if plural:
            determiner = self.choice(("the", "the", "these", "those", "some", "many", "two", "my"))
            wrong = {"these": ("this",), "those": ("that",), "many": ("a", "every"), "two": ("a", "this")}
        else:
            determiner = self.choice(("the", "the", "this", "that", "a", "a", "every", "my"))
            wrong = {"this": ("these",), "that": ("those",), "a": ("many", "these"), "every": ("those", "two")}
        words = [_Word(determiner, wrong.get(determiner, ()), swap=True)]
        if self.random.random() < 0.3:
            words.append(_Word(self.choice(adjectives), swap=True))
            words[0].swap = False
        return [*words, _Word(forms[plural])], plural, forms[0]

    def place(self) -> list[_Word]:
        preposition = [_Word(word) for word in self.choice(PREPOSITIONS).split()]
        return preposition + self.noun_phrase(PLACES, OF_OBJECTS)[0]

    def sentence(self) -> list[_Word] | None:
        random_, choice = self.random.random, self.choice
        kind = self.random.choices(
            ("alone", "human", "animate", "object", "adjective", "reflexive"), (2, 2, 3, 4, 2, 1)
        )[0]
        things = kind == "adjective" and random_() < 0.6
        pool = OBJECTS if things else PEOPLE + ANIMALS * (kind in ("alone", "animate", "adjective"))
        if kind == "reflexive":
            pool = [pair for pair in PEOPLE if pair[0] in HE | SHE]
        subject, plural, noun = self.noun_phrase(pool, OF_OBJECTS if things else OF_ANIMATE)
        if random_() < 0.4:
            subject += self.place()
        if kind == "adjective":
            adjective = choice(OF_OBJECTS if things else OF_ANIMATE)
            if _held_out(noun, adjective) != self.held_out:
                return None
            be = choice(("is/are", "was/were")).split("/")
            return [
                *subject,
                _Word(be[plural], (be[1 - plural],)),
                *([_Word("very")] if random_() < 0.3 else []),
                _Word(adjective),
            ]
        verb = choice(
            {"alone": ALONE, "human": HUMAN, "animate": TO_ANIMATE, "object": TO_OBJECT, "reflexive": REFLEXIVE}[kind]
        )
        if _held_out(noun, verb.base) != self.held_out:
            return None
        rest: list[_Word] = []
        if kind == "animate":
            rest = self.noun_phrase(PEOPLE + ANIMALS, OF_ANIMATE)[0]
        elif kind == "object":
            rest = self.noun_phrase(OBJECTS, OF_OBJECTS)[0]
        elif kind == "reflexive":
            one, other = ("himself", "herself") if noun in HE else ("herself", "himself")
            rest = [_Word("themselves", ("himself", "herself")) if plural else _Word(one, ("themselves", other))]
        elif random_() < 0.4:
            rest = self.place()
        return subject + self.verb(verb, plural) + rest

    def verb(self, verb: _Verb, plural: bool) -> list[_Word]:
        """The finite verb, with or without an auxiliary."""
        form = self.random.choices(
            ("simple", "not", "modal", "perfect", "progressive"), (5, 2, 2, 2, 0 if verb.base in STATIVE else 2)
        )[0]
        present = (verb.third, verb.base)
        if form == "simple":
            return [_Word(present[plural], (present[1 - plural], verb.ing))]
        if form == "not":
            do = ("does", "do")
            return [_Word(do[plural], (do[1 - plural],)), _Word("not"), _Word(verb.base, (verb.third, verb.ing))]
        if form == "modal":
            return [_Word(self.choice(("can", "will", "must")), swap=True), _Word(verb.base, (verb.third, verb.ing))]
        if form == "perfect":
            have = ("has", "have")
            wrong = (verb.third,) if verb.base == verb.participle else (verb.third, verb.base)
            return [_Word(have[plural], (have[1 - plural],), swap=True), _Word(verb.participle, wrong)]
        be = ("is", "are")
        return [_Word(be[plural], (be[1 - plural],), swap=True), _Word(verb.ing, (verb.base, verb.third))]


def _acceptability(generator: random.Random, held_out: bool) -> Maker:
    sentences = _Sentences(generator, held_out)

    def make(label: int) -> tuple[str, str] | None:
        words = sentences.sentence()
        if words is None:
            return None
        texts = [word.text for word in words]
        if label == 0:
            wrong = [i for i, word in enumerate(words) if word.wrong]
            swaps = [i for i, word in enumerate(words) if word.swap]
            if not swaps or wrong and generator.random() < 0.7:
                i = generator.choice(wrong)
                texts[i] = generator.choice(words[i].wrong)
            else:
                i = generator.choice(swaps)
                texts[i : i + 2] = texts[i + 1], texts[i]
        return _text(f"{' '.join(texts)} ."), ("unacceptable", "acceptable")[label]

    return make


MAKERS = {"sentiment": _sentiment, "summarize": _summary, "acceptable": _acceptability}
