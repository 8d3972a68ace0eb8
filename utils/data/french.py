"""English sentences in French, with gold word alignments, from a grammar that writes both at once.

Every rule of the grammar has two sides and says which words of one side mean which words of the other; so whatever it
derives comes with its alignment. The French agrees in gender and number, puts most adjectives after the noun, wraps
*ne ... pas* around the verb, moves object pronouns before it, elides (*l'homme*) and contracts (*au*, *du*).

Everything is lower case, and a token is a word or a question mark. An elided word is a token of its own (``l'``,
``homme``), as are *est-ce*, *que* and the English possessive ``'s``. So that an English sentence has one translation,
"you" is the polite *vous* said to one man, "they" is *ils*, and whoever says "i" is a man.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.data import french_lexicon as lexicon
from utils.data.pair import Pair

JE, IL, NOUS, VOUS, ILS = range(5)
VOWELS = "aàâeéèêiîoôuûœ"


def sentence_pairs(
    n_train: int, n_held_out: int, seed: int = 0, *, max_length: int | None = None
) -> tuple[list[Pair], list[Pair]]:
    """Sentence pairs to train on and to test on; source and target are tuples of words, the alignment is gold.

    No sentence comes twice in either language, so none that is held out was seen in training; each of its words was.
    Whole utterances such as *good morning → bonjour* are among the training pairs. `max_length` bounds the number of
    English words. Equal seeds give equal pairs.

    Each French word has at least one link. English words that French has no word for have none: *do* before *not*, the
    *to* of an infinitive, the article of *a student*. *Est-ce que* is linked to the verb that English puts in front.

    Raises: ValueError when there are not as many pairs as asked for.
    """
    classics = [_classic(*row) for row in lexicon.CLASSICS]
    if n_train < len(classics):
        raise ValueError(f"the {len(classics)} whole utterances are always trained on; ask for as many pairs, or more")
    grammar = _Grammar(random.Random(seed))
    seen = {side for pair in classics for side in (pair.source, pair.target)}

    def draw() -> Pair:
        for _ in range(1000):
            pair = grammar.sentence()
            short_enough = max_length is None or len(pair.source) <= max_length
            if short_enough and pair.source not in seen and pair.target not in seen:
                seen.update((pair.source, pair.target))
                return pair
        raise ValueError(f"the grammar has too few sentences of at most {max_length} words; ask for fewer")

    pool = [draw() for _ in range(n_train - len(classics) + n_held_out)]
    grammar.random.shuffle(pool)  # what is drawn late is rare: let both parts have their share of it
    train = classics + pool[: n_train - len(classics)]
    words = {("en", w) for pair in train for w in pair.source} | {("fr", w) for pair in train for w in pair.target}
    held_out: list[Pair] = []
    rest = iter(pool[n_train - len(classics) :])
    while len(held_out) < n_held_out:
        pair = next(rest, None) or draw()
        if words.issuperset([("en", w) for w in pair.source] + [("fr", w) for w in pair.target]):
            held_out.append(pair)
    return train, held_out


def to_text(tokens: Iterable[str]) -> str:
    """The tokens as one writes them: ``l'`` + ``homme`` without a space, and ``'s`` next to its word."""
    return " ".join(tokens).replace("' ", "'").replace(" 's", "'s")


# --- phrases: English and French side by side ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phrase:
    english: tuple[str, ...] = ()
    french: tuple[str, ...] = ()
    links: frozenset[tuple[int, int]] = frozenset()


NOTHING = _Phrase()


def _rule(english: str, french: str, **parts: _Phrase) -> _Phrase:
    """Write one phrase in both languages.

    In the two templates a name of `parts` stands for that phrase, and anything else is a word. Each letter or digit
    after a word's colon is a mark: words of the two sides that share a mark are linked. ``look_for:1`` is two words
    with one mark, and ``:1`` none.
    """
    sides = []
    for template, side in ((english, "english"), (french, "french")):
        words, marks, starts = [], {}, {}
        for item in template.split():
            if item in parts:
                starts[item] = len(words)
                words += getattr(parts[item], side)
                continue
            text, _, keys = item.partition(":")
            for word in filter(None, text.split("_")):
                for key in keys:
                    marks.setdefault(key, []).append(len(words))
                words.append(word)
        sides.append((tuple(words), marks, starts))
    (english_words, here, english_starts), (french_words, there, french_starts) = sides
    links = {(i, j) for key in here.keys() & there.keys() for i in here[key] for j in there[key]}
    for name, part in parts.items():
        links |= {(english_starts[name] + i, french_starts[name] + j) for i, j in part.links}
    return _Phrase(english_words, french_words, frozenset(links))


def _spell(phrase: _Phrase) -> Pair:
    """Write *an* in English, elide and contract in French; a contraction keeps the links of both words."""
    english = tuple(
        "an" if word == "a" and following[0] in "aeiou" else word
        for word, following in zip(phrase.english, (*phrase.english[1:], "."), strict=True)
    )
    french: list[str] = []
    places = []
    for word, following in zip(phrase.french, (*phrase.french[1:], "."), strict=True):
        if word in ("je", "me", "le", "la", "ne", "de", "que", "ce") and _vowel(following):
            word = f"{word[:-1]}'"
        if french and (french[-1], word) in _CONTRACTIONS:
            french[-1] = _CONTRACTIONS[french[-1], word]
        else:
            french.append(word)
        places.append(len(french) - 1)
    return Pair(english, tuple(french), frozenset((i, places[j]) for i, j in phrase.links))


_CONTRACTIONS = {("à", "le"): "au", ("à", "les"): "aux", ("de", "le"): "du", ("de", "les"): "des"}


def _vowel(word: str) -> bool:
    """Whether a word before `word` elides: a vowel, the pronoun *y*, or a mute h."""
    return word == "y" or word[0] in VOWELS or (word[0] == "h" and word not in lexicon.ASPIRATED)


def _classic(english: str, french: str, links: str) -> Pair:
    alignment = frozenset((int(i), int(j)) for i, j in (link.split("-") for link in links.split()))
    return Pair(tuple(english.split()), tuple(french.split()), alignment)


# --- words -----------------------------------------------------------------------------------------------------------


def _rows(block: str) -> list[list[str]]:
    return [line.split() for line in block.strip().splitlines()]


def _plural_french(word: str) -> str:
    return word if word[-1] in "sxz" else f"{word}x" if word.endswith("eau") else f"{word}s"


def _with_s(word: str) -> str:
    """The plural of an English noun, or the third person of a verb."""
    if word.endswith(("s", "x", "ch", "sh", "go", "do")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word[-1] == "y" and word[-2] not in "aeiou" else f"{word}s"


@dataclass(frozen=True)
class _Noun:
    english: tuple[str, str]  # singular, plural
    french: tuple[str, str]
    feminine: bool
    kind: str

    @property
    def mass(self) -> bool:
        return self.kind in lexicon.MASS


def _nouns() -> dict[str, list[_Noun]]:
    found = {}
    for kind, block in lexicon.NOUNS.items():
        for english, french, gender, *irregular in _rows(block):
            many, plusieurs = (*irregular, "-", "-")[:2]
            many = _with_s(english) if many == "-" else many
            plusieurs = _plural_french(french) if plusieurs == "-" else plusieurs
            noun = _Noun((english, many), (french, plusieurs), gender == "f", kind)
            found.setdefault(kind, []).append(noun)
    return found


@dataclass(frozen=True)
class _Adjective:
    english: str
    masculine: str
    feminine: str
    before: bool = False

    def agree(self, feminine: bool, plural: bool) -> str:
        word = self.feminine if feminine else self.masculine
        return _plural_french(word) if plural else word


@dataclass(frozen=True)
class _Verb:
    base: str  # of several words where an underscore is
    past: str  # "-" where there is none
    infinitive: str
    subjects: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()  # kinds of direct object
    prepositions: tuple[str, str] | None = None  # English ("-" for none), French
    places: tuple[str, ...] = ()  # kinds of noun after the preposition

    @property
    def lasting(self) -> bool:
        """To love, to know: no progress, and no past here, which would be the imperfect."""
        return self.past == "-"

    def can_be_asked(self, word: str) -> bool:
        """Whether a question with `word`, such as *where*, makes sense: *what* needs an object that is a thing."""
        if word == "what":
            return bool(self.objects) and not self.places and not set(self.objects) & set(PEOPLE)
        if word == "where":
            return not (self.lasting or self.places or self.infinitive == "partir")
        return not (word == "when" and self.lasting)

    def third(self, form: int) -> str:
        """The English present: base, or base with s."""
        first, *rest = self.base.split("_")
        first = ("has" if first == "have" else _with_s(first)) if form == IL else first
        return "_".join([first, *rest])

    def present(self, form: int) -> str:
        if self.infinitive in lexicon.IRREGULAR:
            return lexicon.IRREGULAR[self.infinitive].split(" | ")[0].split()[form]
        stem = self.infinitive[:-2]
        return stem + ("e", "e", "eons" if stem[-1] == "g" else "ons", "ez", "ent")[form]

    def participle(self, feminine: bool = False, plural: bool = False) -> str:
        irregular = lexicon.IRREGULAR.get(self.infinitive)
        word = irregular.split(" | ")[1] if irregular else f"{self.infinitive[:-2]}é"
        return _Adjective("", word, f"{word}e").agree(feminine, plural)


def _verbs() -> list[_Verb]:
    found = []
    for line in lexicon.VERBS.strip().splitlines():
        english, infinitive, subjects, objects = (field.strip() for field in line.split("|"))
        direct, _, indirect = objects.partition(":")
        here, there, *places = indirect.split() or ("", "")
        prepositions = (here, there) if places else None
        found.append(
            _Verb(
                *english.split(),
                infinitive,
                tuple(subjects.split()),
                tuple(direct.split()),
                prepositions,
                tuple(places),
            )
        )
    return found


NOUNS = _nouns()
ADJECTIVES = {row[0]: _Adjective(*row, before=True) for row in _rows(lexicon.BEFORE)}
ADJECTIVES |= {row[0]: _Adjective(*row) for row in _rows(lexicon.AFTER)}
ADJECTIVES = {name: replace(adjective, english=name.rstrip("*")) for name, adjective in ADJECTIVES.items()}
VERBS = _verbs()
ETRE, AVOIR = _Verb("be", "-", "être"), _Verb("have", "-", "avoir")
GOING = _Verb("go", "-", "aller")
MODALS = [_Verb(*row) for row in (("can", "-", "pouvoir"), ("must", "-", "devoir"), ("want", "-", "vouloir"))]
SAYING = [_Verb(*row) for row in (("think", "-", "penser"), ("know", "-", "savoir"), ("say", "-", "dire"))]
SAYING += [_Verb("hope", "-", "espérer")]
PEOPLE = tuple(lexicon.PEOPLE.split())
BE = {"present": ("am", "is", "are", "are", "are"), "past": ("was", "was", "were", "were", "were")}
NUMBERS = [pair.split() for pair in lexicon.NUMBERS.split(", ")]
STATES = [pair.split() for pair in lexicon.STATES.split(", ")]


@dataclass(frozen=True)
class _Nominal:
    """A phrase that can be a subject: how the verb and the adjectives must agree with it."""

    phrase: _Phrase
    form: int = IL
    feminine: bool = False
    plural: bool = False
    kind: str = "pronoun"


SUBJECTS = [
    _Nominal(_rule("i:1", "je:1"), JE),
    _Nominal(_rule("he:1", "il:1"), IL),
    _Nominal(_rule("she:1", "elle:1"), IL, feminine=True),
    _Nominal(_rule("we:1", "nous:1"), NOUS, plural=True),
    _Nominal(_rule("you:1", "vous:1"), VOUS),
    _Nominal(_rule("they:1", "ils:1"), ILS, plural=True),
]
OBJECTS = [  # direct objects, with the subjects that each does not go with; in the past the participle would agree
    (_rule("me:1", "me:1"), (JE, NOUS)),
    (_rule("him:1", "le:1"), ()),
    (_rule("her:1", "la:1"), ()),
    (_rule("us:1", "nous:1"), (JE, NOUS)),
    (_rule("you:1", "vous:1"), (VOUS,)),
    (_rule("them:1", "les:1"), ()),
]
TIMES = {
    "present": [
        _rule("today:1", "aujourd'hui:1"),
        _rule("every:1 day:2", "tous:1 les:1 jours:2"),
        _rule("now:1", "maintenant:1"),
    ],
    "past": [_rule("yesterday:1", "hier:1"), _rule("this:1 morning:2", "ce:1 matin:2")],
    "future": [_rule("tomorrow:1", "demain:1"), _rule("this:1 evening:2", "ce:1 soir:2")],
}
OFTEN = [_rule("often:1", "souvent:1"), _rule("always:1", "toujours:1"), _rule("sometimes:1", "parfois:1")]
NEGATIONS = {"": ("", ""), "not": ("ne:2", "pas:2"), "never": ("ne:2", "jamais:2")}


# --- the grammar -----------------------------------------------------------------------------------------------------


class _Grammar:
    """Derives sentences at random. Each method returns a phrase, or a nominal, in both languages."""

    def __init__(self, generator: random.Random):
        self.random = generator

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def one_of(self, weights: dict) -> Any:
        """A key of `weights`, as often as its value says."""
        return self.random.choices(list(weights), list(weights.values()))[0]

    def sentence(self) -> Pair:
        kind = self.one_of({self.statement: 8, self.compound: 5, self.question: 4, self.wh_question: 2})
        return _spell(kind())

    # noun phrases

    def noun(self, kinds: Sequence[str]) -> _Noun:
        return self.random.choice(NOUNS[self.random.choice(kinds)])

    def determiner(self, noun: _Noun, plural: bool, indefinite: bool, negated: bool) -> str:
        """A name that `article` knows. Before the object of a negation (`negated`) *a* and *any* are *de*."""
        if indefinite and negated and noun.kind not in PEOPLE:  # he does not see a teacher: pas de professeur is odd
            return "any" if plural or noun.mass else "a, negated"
        if indefinite and not negated:
            return self.one_of({"some": 3, "number": 3, "many": 1}) if plural else "some" if noun.mass else "a"
        whose = self.random.choice(list(lexicon.POSSESSIVES))  # ma femme is my wife, ma fille my daughter: not these
        return self.one_of({"the": 6, "this": 1, whose: 0 if noun.kind in ("adult", "child") else 3})

    def noun_phrase(
        self,
        kinds: Sequence[str],
        *,
        definite: float = 0.6,
        negated: bool = False,
        plural: float = 0.3,
        determiner: str = "",
        adjectives: float = 0.4,
    ) -> _Nominal:
        """A noun with a determiner and perhaps adjectives; `definite`, `plural` and `adjectives` are probabilities."""
        noun = self.noun(kinds)
        many = noun.kind not in lexicon.ALONE and self.chance(plural)
        determiner = determiner or self.determiner(noun, many, not self.chance(definite), negated)
        before, after = self.attributes(noun, adjectives)
        english = [f"{before.english}:b" if before else "", f"{after.english}:a" if after else ""]
        if before and after and before.english in lexicon.AGES and after.english not in lexicon.CLOSEST:
            english.reverse()  # an expensive new car, but a new red car
        first = before.agree(noun.feminine, many) if before else ""
        if not (noun.feminine or many) and _vowel(noun.french[0]):
            first = lexicon.LIAISON.get(first, first)
        last = after.agree(noun.feminine, many) if after else ""
        here, there = self.article(determiner, noun, many, bool(before), first or noun.french[many])
        phrase = _rule(
            f"{here} {' '.join(english)} {noun.english[many]}:n", f"{there} {first}:b {noun.french[many]}:n {last}:a"
        )
        return _Nominal(phrase, ILS if many else IL, noun.feminine, many, noun.kind)

    def attributes(self, noun: _Noun, probability: float) -> tuple[_Adjective | None, _Adjective | None]:
        """Adjectives that go before the noun, and after it, in French."""
        known = [ADJECTIVES[name] for name in lexicon.ATTRIBUTES[noun.kind].split()]
        if not self.chance(probability):
            return None, None
        first = self.random.choice(known)
        others = [adjective for adjective in known if adjective.before != first.before]
        second = self.random.choice(others) if others and self.chance(0.25) else None
        return (first, second) if first.before else (second, first)

    def article(self, name: str, noun: _Noun, plural: bool, adjective_first: bool, following: str) -> tuple[str, str]:
        """English and French of a determiner, with mark d; `following` is the next French word."""
        gender = 2 if plural else int(noun.feminine)
        the = ("le", "la", "les")[gender]
        if name in lexicon.POSSESSIVES:
            gender = 0 if gender == 1 and _vowel(following) else gender
            return f"{name}:d", f"{lexicon.POSSESSIVES[name].split()[gender]}:d"
        if name == "this":
            this = "cet" if gender == 0 and _vowel(following) else ("ce", "cette", "ces")[gender]
            return ("these:d" if plural else "this:d"), f"{this}:d"
        if name == "number":
            number, nombre = self.random.choice(NUMBERS)
            return f"{number}:d", f"{nombre}:d"
        if name == "some":
            return "some:d", f"de:d {the}:d" if noun.mass else "de:d" if adjective_first else "des:d"
        return {
            "the": ("the:d", f"{the}:d"),
            "a": ("a:d", "une:d" if noun.feminine else "un:d"),
            "many": ("many:d", "beaucoup:d de:d"),
            "any": ("any:d", "de:d"),
            "a, negated": ("a:d", "de:d"),
            "all": ("", f"{the}:n"),
            "none": ("", ""),
        }[name]

    def of_somebody(self, kinds: Sequence[str], plural: float = 0.2) -> _Nominal:
        """The teacher 's book → le livre de le professeur."""
        owner = self.noun_phrase(PEOPLE, definite=1, plural=0, adjectives=0.2)
        owned = self.noun_phrase(
            [kind for kind in kinds if kind not in ("adult", "child")], plural=plural, determiner="none", adjectives=0.3
        )
        the = "les" if owned.plural else "la" if owned.feminine else "le"
        phrase = _rule("OWNER 's:1 OWNED", f"{the}:1 OWNED de:1 OWNER", OWNER=owner.phrase, OWNED=owned.phrase)
        return replace(owned, phrase=phrase)

    def subject(self, kinds: Sequence[str], *, definite: float = 0.75, adjectives: float = 0.4) -> _Nominal:
        if set(kinds) & set(PEOPLE) and self.chance(0.4):
            return self.random.choice(SUBJECTS)
        if self.chance(0.1) and not {"adult", "child"}.issuperset(kinds):
            return self.of_somebody(kinds)
        first = self.noun_phrase(kinds, definite=definite, adjectives=adjectives)
        if first.kind in lexicon.ALONE or not self.chance(0.1):
            return first
        second = self.noun_phrase([first.kind], definite=definite, adjectives=adjectives)
        if second.phrase.english == first.phrase.english:
            return first
        both = _rule("FIRST and:1 SECOND", "FIRST et:1 SECOND", FIRST=first.phrase, SECOND=second.phrase)
        return _Nominal(both, ILS, first.feminine and second.feminine, True, first.kind)

    def place(self, kinds: Sequence[str], prepositions: Sequence[str]) -> _Phrase:
        english = self.random.choice(prepositions)
        french = lexicon.PREPOSITIONS[english]
        where = self.noun_phrase(kinds, definite=0.85, plural=0, adjectives=0.3).phrase
        return _rule(f"{english}:1 WHERE", f"{french}:1 WHERE", WHERE=where)

    # sentences

    def statement(self) -> _Phrase:
        return self.one_of({self.action: 10, self.being: 5, self.existence: 1.5, self.naming: 1})()

    def question(self) -> _Phrase:
        return self.one_of({self.action: 8, self.being: 5, self.existence: 1, self.naming: 1})(question=True)

    def wh_question(self) -> _Phrase:
        kind = self.random.choice(["who", "what", "why", "when", "where", "where is"])
        if kind == "where is":
            thing = self.noun_phrase((*PEOPLE, "animal", "text", "clothes", "object", "building"), definite=1)
            be, est = BE["present"][thing.form], ETRE.present(thing.form)
            return _rule(f"where:1 {be}:2 THING ?:3", f"où:1 {est}:2 THING ?:3", THING=thing.phrase)
        if kind == "why" and self.chance(0.5):
            return self.being(question=True, word=_rule("why:1", "pourquoi:1"))
        return self.action(question=True, asked=kind)

    def compound(self) -> _Phrase:
        """Two clauses, as equals or one as the reason; or one as what somebody thinks."""
        if self.chance(0.4):
            return self.said()
        first, second = self.statement(), self.statement()
        english, french = self.random.choice([("and:1", "et:1"), ("but:1", "mais:1"), ("because:1", "parce:1 que:1")])
        return _rule(f"FIRST {english} SECOND", f"FIRST {french} SECOND", FIRST=first, SECOND=second)

    def said(self) -> _Phrase:
        """He thinks that ... → il pense que ..."""
        who, verb = self.subject(PEOPLE), self.random.choice(SAYING)
        here, there = verb.third(who.form), verb.present(who.form)
        parts = {"WHO": who.phrase, "CLAUSE": self.statement()}
        return _rule(f"WHO {here}:1 that:2 CLAUSE", f"WHO {there}:1 que:2 CLAUSE", **parts)

    def naming(self, question: bool = False) -> _Phrase:
        """This is my book → ce est mon livre."""
        kinds = (*PEOPLE, "animal", "text", "clothes", "object", "vehicle", "building")
        if self.chance(0.4):
            thing = self.noun_phrase(kinds, definite=0, plural=0)
        else:
            thing = self.noun_phrase(kinds[2:], determiner=self.random.choice(["the", *lexicon.POSSESSIVES]))
        this, be, est = ("these", "are", "sont") if thing.plural else ("this", "is", "est")
        if question:
            return _rule(f"{be}:23 {this}:1 X ?:4", f"est-ce:3 que:3 ce:1 {est}:2 X ?:4", X=thing.phrase)
        if self.chance(0.3):
            return _rule(f"{this}:1 {be}:2 not:3 X", f"ce:1 ne:3 {est}:2 pas:3 X", X=thing.phrase)
        return _rule(f"{this}:1 {be}:2 X", f"ce:1 {est}:2 X", X=thing.phrase)

    def existence(self, question: bool = False) -> _Phrase:
        """There is a cat under the table → il y a un chat sous la table."""
        no = not question and self.chance(0.25)
        small = self.chance(0.5)
        kinds = ("text", "clothes", "object", "fruit", "dish") if small else ("animal", "child", "role")
        thing = self.noun_phrase(kinds, definite=0, determiner="none" if no else "")
        parts = {"THING": thing.phrase, "PLACE": self.on_furniture() if small else self.somewhere()}
        be = BE["present"][thing.form]
        if question:
            return _rule(f"{be}:23 there:1 THING PLACE ?:4", "est-ce:3 que:3 il:1 y:1 a:2 THING PLACE ?:4", **parts)
        if no:
            return _rule(f"there:1 {be}:2 no:3 THING PLACE", "il:1 ne:3 y:1 a:2 pas:3 de:3 THING PLACE", **parts)
        return _rule(f"there:1 {be}:2 THING PLACE", "il:1 y:1 a:2 THING PLACE", **parts)

    def on_furniture(self) -> _Phrase:
        return self.place(("furniture",), ("on", "under", "behind", "near"))

    def somewhere(self) -> _Phrase:
        return self.place(("building", "nature"), ("in", "behind", "near", "in_front_of"))

    def being(self, question: bool = False, word: _Phrase = NOTHING) -> _Phrase:
        """Somebody or something is tired, is a student, is hungry, is ten years old, is in the garden."""
        subject, verb, complement, passing = self.complement()
        form = subject.form
        tense = self.one_of({"present": 3, "past": 1})
        negation = "" if question else self.one_of({"": 6, "not": 3, "never": 1})
        often = time = NOTHING
        if passing and tense == "present" and self.chance(0.1):
            often = self.often(negation)
        elif passing and negation != "never" and self.chance(0.1):
            time = self.random.choice(TIMES[tense])
        french = verb.present(form) if tense == "present" else lexicon.IMPERFECT[verb.infinitive].split()[form]
        be = BE[tense][form]
        english = f"{be}:13 S OFTEN" if question else f"S {be}:1 {negation}:2 OFTEN"
        parts = {"S": subject.phrase, "OFTEN": often, "C": complement, "T": time, "W": word}
        return self.clause(f"{english} C T", f"{french}:1", "C T", negation, question, **parts)

    def complement(self) -> tuple[_Nominal, _Verb, _Phrase, bool]:
        """A subject, whether French says it with *être* or *avoir*, what is said of it, and whether that can change."""
        kind = self.one_of({"adjective": 8, "profession": 3, "state": 3, "age": 1, "place": 3})
        if kind == "adjective":
            kinds = PEOPLE if self.chance(0.6) else [kind for kind in lexicon.PREDICATES if kind in NOUNS]
            subject = self.subject(kinds, definite=1, adjectives=0.1)
            return subject, ETRE, *self.predicate(subject)
        if kind == "profession":
            subject = self.subject(("family", "sibling", "adult"), definite=1)
            english, *french = self.random.choice(_rows(lexicon.PROFESSIONS))
            profession = _Adjective("", *french).agree(subject.feminine, subject.plural)
            here = f"{_with_s(english)}:1" if subject.plural else f"a {english}:1"
            return subject, ETRE, _rule(here, f"{profession}:1"), False
        if kind == "state":
            subject = self.subject(PEOPLE if self.chance(0.8) else ["animal"], definite=0.9)
            english, french = self.random.choice(STATES[:4] if subject.kind == "animal" else STATES)
            return subject, AVOIR, _rule(f"{english}:1", f"{french}:1"), True
        if kind == "age":
            subject = self.subject(("child", "sibling"), definite=1)
            english, french = self.random.choice(NUMBERS[2:])
            return subject, AVOIR, _rule(f"{english}:1 years_old:2", f"{french}:1 ans:2"), False
        if self.chance(0.5):
            return self.noun_phrase(("text", "clothes", "object"), definite=1), ETRE, self.on_furniture(), True
        return self.subject((*PEOPLE, "animal"), definite=1), ETRE, self.somewhere(), True

    def predicate(self, subject: _Nominal) -> tuple[_Phrase, bool]:
        """An adjective that agrees with the subject, perhaps with *very* or *too*, or in a comparison."""
        names = lexicon.PREDICATES[subject.kind].split()
        compared = [name for name in names if name in lexicon.COMPARED]
        how = self.one_of({"": 6, "very": 2, "too": 1, "as": 1, "more": 1 if compared else 0})
        adjective = ADJECTIVES[self.random.choice(compared if how == "more" else names)]
        here, there = f"{adjective.english}:1", f"{adjective.agree(subject.feminine, subject.plural)}:1"
        passing = adjective.english in lexicon.PASSING
        if not how or adjective.english in lexicon.CLOSEST:  # nothing is very red here, and nobody too english
            return _rule(here, there), passing
        if how in ("very", "too"):
            return _rule(f"{how}:2 {here}", f"{'très' if how == 'very' else 'trop'}:2 {there}"), passing
        kind = "sibling" if subject.kind == "pronoun" else subject.kind
        other = self.noun_phrase([kind], definite=1, adjectives=0.1).phrase
        if how == "as":
            return _rule(f"as:2 {here} as:3 OTHER", f"aussi:2 {there} que:3 OTHER", OTHER=other), passing
        return _rule(f"more:2 {here} than:3 OTHER", f"plus:2 {there} que:3 OTHER", OTHER=other), passing

    def often(self, negation: str) -> _Phrase:
        return {"": self.random.choice(OFTEN), "not": self.random.choice(OFTEN[:2]), "never": NOTHING}[negation]

    def action(self, question: bool = False, asked: str = "") -> _Phrase:
        """Somebody does something; `asked` is a question word that stands for a part of it."""
        verb = self.random.choice([verb for verb in VERBS if verb.can_be_asked(asked)])
        who = asked == "who"
        subject = _Nominal(_rule("who:1", "qui:1")) if who else self.subject(verb.subjects)
        tense = "present" if verb.lasting else self.one_of({"present": 5, "past": 3, "future": 2})
        modal = GOING if tense == "future" else None
        if tense == "present" and not verb.lasting and self.chance(0.2):
            modal = self.random.choice(MODALS)
        past = tense == "past"
        negation = "" if question else self.one_of({"": 6, "not": 3, "never": 0 if verb.lasting else 1})

        often = time = NOTHING
        if past and verb.past == verb.base and asked != "when":  # they read: today, or yesterday?
            time = self.random.choice(TIMES[tense])
        elif tense == "present" and not (modal or verb.lasting or asked) and self.chance(0.15):
            often = self.often(negation)
        elif not (verb.lasting or asked == "when" or negation == "never") and self.chance(0.2):
            time = self.random.choice(TIMES[tense])

        pronoun = direct = NOTHING
        if not past and asked != "what" and self.chance(0.3):
            pronoun = self.pronoun(verb, subject.form)
        if not pronoun.english and asked != "what":
            direct = self.direct_object(verb, bool(negation), definite=1 if negation and often.english else 0.5)
        indirect, (here, there) = self.indirect_object(verb, bool(negation))

        english = self.english_verb(verb, subject.form, past, modal, negation, question and not who)
        first, last = self.french_verb(verb, subject, past, modal, negation)
        word = _rule(f"{asked}:1", f"{lexicon.QUESTION_WORDS[asked]}:1") if asked and not who else NOTHING
        parts = {"S": subject.phrase, "K": pronoun, "O": direct, "I": indirect, "T": time, "OFTEN": often, "W": word}
        english, last = f"{english} K O {here} I T", f"{last} O {there} I T"
        return self.clause(english, first, last, negation, question, who=who, **parts)

    def clause(
        self, english: str, first: str, last: str, negation: str, question: bool, *, who: bool = False, **parts: _Phrase
    ) -> _Phrase:
        """The frame of a clause; in French `first` is what *ne ... pas* wraps, `last` the rest."""
        ne, pas = NEGATIONS[negation]
        mark = "?:4" if question else ""
        est_ce = "W est-ce:3 que:3" if question and not who else ""
        return _rule(f"W {english} {mark}", f"{est_ce} S {ne} {first} {pas} OFTEN {last} {mark}", **parts)

    def english_verb(
        self, verb: _Verb, form: int, past: bool, modal: _Verb | None, negation: str, question: bool
    ) -> str:
        """Subject and verb as a template; mark 3 is on what a question moves to the front, 5 on *did*, 6 on a modal."""
        base, do = verb.base, "does" if form == IL else "do"
        if modal is GOING:
            be = BE["present"][form]
            return f"{be}:3 S going:6 to {base}:1" if question else f"S {be}:6 {negation}:2 going:6 to {base}:1"
        if modal and modal.base != "want":
            return f"{modal.base}:36 S {base}:1" if question else f"S {modal.base}:6 {negation}:2 {base}:1"
        if past:
            if question:
                return f"did:3 S {base}:1"
            return f"S did:5 not:2 {base}:1" if negation == "not" else f"S {negation}:2 {verb.past}:1"
        finite, rest = (modal, f"to {base}:1") if modal else (verb, "")
        mark = "6" if modal else "1"
        if question:
            return f"{do}:3 S OFTEN {finite.base}:{mark} {rest}"
        if negation == "not":
            return f"S {do} not:2 OFTEN {finite.base}:{mark} {rest}"
        return f"S {negation}:2 OFTEN {finite.third(form)}:{mark} {rest}"

    def french_verb(
        self, verb: _Verb, subject: _Nominal, past: bool, modal: _Verb | None, negation: str
    ) -> tuple[str, str]:
        """What *ne ... pas* wraps and what follows, with K where an object pronoun stands."""
        form = subject.form
        if modal:
            return f"{modal.present(form)}:6", f"K {verb.infinitive}:1"
        if past:
            mark = 5 if negation == "not" else 1
            if verb.infinitive in lexicon.WITH_ETRE:
                return f"{ETRE.present(form)}:{mark}", f"{verb.participle(subject.feminine, subject.plural)}:1"
            return f"{AVOIR.present(form)}:{mark}", f"{verb.participle()}:1"
        return f"K {verb.present(form)}:1", ""

    def pronoun(self, verb: _Verb, form: int) -> _Phrase:
        """An object pronoun, for a verb whose object can be somebody."""
        known = [pronoun for pronoun, never_with in OBJECTS if form not in never_with]
        return self.random.choice(known) if set(PEOPLE) <= set(verb.objects) else NOTHING

    def direct_object(self, verb: _Verb, negated: bool, definite: float) -> _Phrase:
        if not verb.objects:
            return NOTHING
        kinds = [kind for kind in verb.objects if kind not in PEOPLE]
        if verb.infinitive == "aimer" and self.chance(0.4):  # she loves cats → elle aime les chats
            return self.noun_phrase(kinds, plural=1, determiner="all", adjectives=0.1).phrase
        if self.chance(0.1):
            return self.of_somebody(verb.objects).phrase
        definite = 1 if verb.infinitive in ("aimer", "connaître") else definite
        return self.noun_phrase(verb.objects, definite=definite, negated=negated).phrase

    def indirect_object(self, verb: _Verb, negated: bool) -> tuple[_Phrase, tuple[str, str]]:
        """The noun phrase after the verb's preposition, and the preposition in both languages."""
        if not verb.places:
            return NOTHING, ("", "")
        here, there = verb.prepositions
        definite, plural = {"in": (0.7, 0.0), "with": (0.8, 0.3)}.get(here, (1.0, 0.2))
        definite = 1 if negated else definite
        what = self.noun_phrase(verb.places, definite=definite, plural=plural, adjectives=0.3).phrase
        return what, (f"{here}:7", f"{there}:7") if here != "-" else ("", f"{there}:1")
