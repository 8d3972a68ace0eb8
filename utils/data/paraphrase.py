"""Pairs of sentences that say the same, or nearly the same words and something else.

*The nurse thanked the pilot* is *the pilot was thanked by the nurse*, and not *the pilot thanked the nurse*; to have
sold somebody a lamp is not to have bought it from him; not to have forgotten is to have remembered. Both labels come
with the same number of exchanged words, the same word orders and as many negations, so that what the two sentences
have in common does not tell which label a pair has.

`mrpc` reads real pairs into the same type.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from utils.data.hub import fetch, read_json_lines

SHARE_HELD_OUT = 5  # of the facts, every fifth is held out


class Paraphrase(NamedTuple):
    """Two sentences; the label is 1 where they say the same and 0 where they do not."""

    a: str
    b: str
    label: int


def paraphrases(n_train: int, n_held_out: int, seed: int = 0) -> tuple[list[Paraphrase], list[Paraphrase]]:
    """Pairs to train on and to test on, each different, labels balanced and in random order.

    Who does what to whom in a held-out pair is in no training pair, in either direction and in other words neither.
    Equal seeds give equal pairs.

    Raises: ValueError when there are not as many pairs as asked for.
    """
    generator = random.Random(seed)
    seen: set[tuple[str, str]] = set()
    return _draw(generator, False, n_train, seen), _draw(generator, True, n_held_out, seen)


# --- words -----------------------------------------------------------------------------------------------------------

# A slot of a sentence holds an entry: one or two names of one thing. Irregular verbs are base:past:participle.
Entry = tuple[str, ...]


def _entries(text: str) -> list[Entry]:
    return [tuple(entry.strip().split("/")) for entry in text.split(",")]


PEOPLE = _entries("""doctor/physician, student/pupil, writer/author, reporter/journalist, lawyer/solicitor,
    guest/visitor, caretaker/janitor, singer/vocalist, cook/chef, policeman/police officer, sailor/seaman, child/kid,
    nurse, pilot, baker, farmer, gardener, teacher, painter, dentist, butcher, mayor, actor, tailor""")
TO_PEOPLE = _entries("""praise/commend, help/assist, phone/call, rescue/save, deceive/trick:tricked, hug:hugged/embrace,
    chase/pursue, hire, injure/hurt:hurt:hurt, persuade/convince, frighten/scare, push/shove,
    beat:beat:beaten/defeat, choose:chose:chosen/select, mock/ridicule, forgive:forgave:forgiven/pardon,
    question/interrogate, spot:spotted/notice, watch/observe, thank, greet, insult""")
TO_THINGS = _entries("""repair/fix, buy:bought/purchase, find:found/discover, hide:hid:hidden/conceal, examine/inspect,
    break:broke:broken/smash, collect/gather, display/exhibit, paint, clean, photograph, sell:sold,
    steal:stole:stolen""")
THINGS = _entries(
    "clock, boat, chair, lamp, guitar, camera, mirror, vase, kettle, violin, radio, statue, basket, umbrella"
)
NUMBERS = _entries("two, three, four, five, six, seven, eight, nine, ten")
TIMES = _entries("""on Monday, on Tuesday, on Thursday, on Saturday, in March, in June, in October, in the morning,
    in the evening, in the afternoon""")
PLACES = _entries("""in the library, in the garden, in the kitchen, in the park, in the street, at the station,
    at the market, at the museum, at the airport, at the school""")
GIVING = _entries("sell:sold, lend:lent, give:gave:given")
GETTING = {"sell:sold": "bought", "lend:lent": "borrowed", "give:gave:given": "got"}
CONVERSE = (  # what stands between two people, and what stands there when they change places
    ("is older than", "is younger than"), ("is taller than", "is shorter than"), ("is richer than", "is poorer than"),
    ("is stronger than", "is weaker than"), ("is faster than", "is slower than"),
    ("arrived before", "arrived after"), ("left earlier than", "left later than"), ("spoke before", "spoke after"),
    ("lives above", "lives below"), ("sat behind", "sat in front of"), ("works for", "employs"),
    ("stood to the left of", "stood to the right of"), ("is the landlord of", "is the tenant of"),
)  # fmt: skip
CONTRARY = (  # what somebody did, past and base form; what it is not to have done it; what it was done to
    ("passed", "pass", "failed", "fail", "the exam, the test, the driving test"),
    ("remembered", "remember", "forgot", "forget",
     "the appointment, the password, the umbrella, the keys, the meeting"),
    ("caught", "catch", "missed", "miss", "the train, the bus, the ferry, the last tram"),
    ("kept", "keep", "broke", "break", "the promise, the agreement"),
    ("accepted", "accept", "refused", "refuse", "the offer, the invitation, the money, the present"),
    ("noticed", "notice", "overlooked", "overlook", "the mistake, the scratch, the warning, the sign"),
    ("obeyed", "obey", "disobeyed", "disobey", "the order, the rules, the law"),
    ("attended", "attend", "missed", "miss", "the meeting, the lecture, the rehearsal"),
)  # fmt: skip


# --- facts and what they are called ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fact:
    """What both sentences of a pair may be about. `slots` are exchangeable words by name; `roles` those two to swap."""

    kind: str
    slots: tuple[tuple[str, Entry], ...]
    roles: tuple[str, str] | None = None
    detail: tuple[str, ...] = ()
    negated: bool = False

    def __getitem__(self, name: str) -> Entry:
        return dict(self.slots)[name]

    def put(self, **entries: Entry) -> _Fact:
        return replace(self, slots=tuple((name, entries.get(name, entry)) for name, entry in self.slots))

    def swapped(self) -> _Fact:
        first, second = self.roles
        return self.put(**{first: self[second], second: self[first]})

    @property
    def held_out(self) -> bool:
        """Which part of the data has this fact, and the one with the roles swapped."""
        core = sorted(entry[0] for name, entry in self.slots if name not in ("time", "place"))
        return crc32("/".join([self.kind, *core, *self.detail]).encode()) % SHARE_HELD_OUT == 0


POOLS = {"agent": PEOPLE, "patient": PEOPLE, "verb": TO_PEOPLE, "done": TO_THINGS, "given": GIVING, "thing": THINGS}
POOLS |= {"number": NUMBERS, "time": TIMES, "place": PLACES}


def _verb(word: str) -> tuple[str, str, str]:
    """Base form, past and participle."""
    base, _, rest = word.partition(":")
    past, _, participle = rest.partition(":")
    past = past or f"{base}{'d' if base.endswith('e') else 'ed'}"
    return base, past, participle or past


def _fact(generator: random.Random) -> _Fact:
    """A fact, with or without a time and a place."""
    kind = generator.choices(("person", "thing", "gift", "converse", "contrary"), (5, 2, 3, 3, 3))[0]
    one, other = generator.sample(PEOPLE, 2)
    slots: dict[str, Entry] = {"agent": one}
    roles: tuple[str, str] | None = ("agent", "patient")
    detail: tuple[str, ...] = ()
    negated = False
    if kind == "person":
        slots |= {"patient": other, "verb": generator.choice(TO_PEOPLE)}
        negated = generator.random() < 0.15
    elif kind == "thing":
        slots |= {"done": generator.choice(TO_THINGS), "number": generator.choice(NUMBERS)}
        slots |= {"thing": generator.choice(THINGS)}
        roles = None
    elif kind == "gift":
        slots |= {"patient": other, "given": generator.choice(GIVING), "thing": generator.choice(THINGS)}
    elif kind == "converse":
        slots |= {"patient": other}
        detail = generator.choice(CONVERSE)
    else:
        *verbs, objects = generator.choice(CONTRARY)
        detail = (*verbs, generator.choice(objects.split(", ")))
        roles, negated = None, generator.random() < 0.5
    if not (kind == "converse" and detail[0].split()[0] in ("is", "lives", "works")):
        slots |= {"time": generator.choice(TIMES)} if generator.random() < 0.7 else {}
        slots |= {"place": generator.choice(PLACES)} if kind != "contrary" and generator.random() < 0.4 else {}
    return _Fact(kind, tuple(slots.items()), roles, detail, negated)


def _clauses(fact: _Fact, word: dict[str, str]) -> list[str]:
    """The ways to say `fact` with these words, as many for each fact of a kind and with the same `detail`."""
    agent = f"the {word['agent']}"
    patient = f"the {word['patient']}" if "patient" in word else ""
    if fact.kind == "person":
        base, past, participle = _verb(word["verb"])
        if fact.negated:
            return [f"{agent} did not {base} {patient}", f"{patient} was not {participle} by {agent}"]
        return [
            f"{agent} {past} {patient}",
            f"{patient} was {participle} by {agent}",
            f"it was {agent} who {past} {patient}",
            f"it was {patient} who was {participle} by {agent}",
            f"it was {patient} that {agent} {past}",
        ]
    if fact.kind == "thing":
        _, past, participle = _verb(word["done"])
        things = f"{word['number']} {word['thing']}s"
        return [
            f"{agent} {past} {things}",
            f"{things} were {participle} by {agent}",
            f"it was {agent} who {past} {things}",
        ]
    if fact.kind == "gift":
        _, past, participle = _verb(word["given"])
        got, thing = GETTING[fact["given"][0]], f"the {word['thing']}"
        return [
            f"{agent} {past} {thing} to {patient}",
            f"{agent} {past} {patient} {thing}",
            f"{thing} was {participle} to {patient} by {agent}",
            f"{patient} was {participle} {thing} by {agent}",
            f"{patient} {got} {thing} from {agent}",
            f"it was {agent} who {past} {thing} to {patient}",
            f"it was {patient} who {got} {thing} from {agent}",
            f"it was from {agent} that {patient} {got} {thing}",
        ]
    if fact.kind == "converse":
        there, back = fact.detail
        forms = [f"{agent} {there} {patient}", f"{patient} {back} {agent}"]
        be = "is" if there.split()[0] in ("is", "lives", "works") else "was"
        forms += [f"it {be} {agent} who {there} {patient}", f"it {be} {patient} who {back} {agent}"]
        if there.endswith("than") and be == "is":
            forms += [f"compared with {patient}, {agent} {there.removesuffix(' than')}"]
            forms += [f"compared with {agent}, {patient} {back.removesuffix(' than')}"]
        return forms
    did, do, did_contrary, do_contrary, what = fact.detail
    if fact.negated:
        did, do, did_contrary, do_contrary = did_contrary, do_contrary, did, do
    return [
        f"{agent} {did} {what}",
        f"it was {agent} who {did} {what}",
        f"{agent} did not {do_contrary} {what}",
        f"it was {agent} who did not {do_contrary} {what}",
    ]


def _sentence(clause: str, word: dict[str, str], order: int) -> str:
    """The clause with its time and place: both at the end, or one of them in front."""
    time, place = word.get("time", ""), word.get("place", "")
    front, rest = (("", f"{place} {time}"), (time, place), (place, time))[order] if time else ("", place)
    text = " ".join(f"{front + ',' if front else ''} {clause} {rest}".split())
    return f"{text[0].upper()}{text[1:]}."


# --- pairs -----------------------------------------------------------------------------------------------------------


def _draw(generator: random.Random, held_out: bool, n: int, seen: set[tuple[str, str]]) -> list[Paraphrase]:
    labels = [i % 2 for i in range(n)]
    generator.shuffle(labels)
    pairs: list[Paraphrase] = []
    for label in labels:
        for _ in range(1000):
            pair = _pair(generator, held_out, label)
            if pair and pair[:2] not in seen:
                break
        else:
            raise ValueError(f"there are too few pairs: {len(pairs)} of {n} were found; ask for fewer")
        seen |= {(pair.a, pair.b), (pair.b, pair.a)}
        pairs.append(pair)
    return pairs


def _pair(generator: random.Random, held_out: bool, label: int) -> Paraphrase | None:
    """One pair; None where what was drawn gives none. Both labels draw the same, up to what is exchanged."""
    fact = other = _fact(generator)
    if fact.held_out != held_out:
        return None
    # How many words the second sentence has that the first has not: other names of the same, or of something else.
    exchanged = generator.choices((0, 1, 2), (0 if fact.kind == "thing" else 4, 4, 2))[0]
    renamed = exchanged
    if label == 0:
        if fact.kind == "contrary":
            other = replace(fact, negated=not fact.negated)
        elif fact.roles and (exchanged == 0 or generator.random() < 0.5):
            other = fact.swapped()
        else:
            other = _changed(generator, fact)
            renamed -= 1
        if other.held_out != held_out:
            return None
    names = {entry: generator.choice(entry) for _, entry in (*fact.slots, *other.slots)}
    word = {slot: names[entry] for slot, entry in fact.slots}
    with_two_names = [entry for _, entry in fact.slots if len(entry) == 2 and entry in dict(other.slots).values()]
    if renamed > len(with_two_names):
        return None
    for entry in generator.sample(with_two_names, renamed):
        names[entry] = entry[1 - entry.index(names[entry])]
    other_word = {slot: names[entry] for slot, entry in other.slots}
    n_forms = len(_clauses(fact, word))
    orders = range(3 if "time" in word and "place" in word else 2 if "time" in word else 1)
    form, other_form = generator.randrange(n_forms), generator.randrange(n_forms)
    order, other_order = generator.choice(orders), generator.choice(orders)
    if exchanged == 0 and (form, order) == (other_form, other_order):  # with label 1 these would be one sentence
        return None
    a = _sentence(_clauses(fact, word)[form], word, order)
    b = _sentence(_clauses(other, other_word)[other_form], other_word, other_order)
    return Paraphrase(a, b, label)


def _changed(generator: random.Random, fact: _Fact) -> _Fact:
    """Another fact: one thing, person, number, deed, time or place is another."""
    slot = generator.choice([slot for slot, _ in fact.slots if slot != "given"])
    used = [entry for _, entry in fact.slots]
    choices = [entry for entry in POOLS[slot] if entry not in used]
    if slot in ("time", "place"):  # one word of it
        choices = [entry for entry in choices if entry[0].split()[:-1] == fact[slot][0].split()[:-1]]
    return fact.put(**{slot: generator.choice(choices)})


# --- real pairs ------------------------------------------------------------------------------------------------------

REPOSITORY = "SetFit/mrpc"
REVISION = "2e2058c90792fb6dc86125943e4d2f96a5155a6b"
FILES = {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}  # 3,668, 408 and 1,725 pairs


def mrpc(split: str = "train", *, local_dir: str | Path | None = None) -> list[Paraphrase]:
    """The pairs of MRPC, from news: ``"train"``, ``"validation"`` or ``"test"``, all with labels.

    Dolan and Brockett, "Automatically Constructing a Corpus of Sentential Paraphrases", IWP 2005. On the hub as
    ``SetFit/mrpc``, in three files of JSON lines, ``{"text1": ..., "text2": ..., "label": 0 or 1, ...}``. With
    `local_dir`, a folder that holds the three files, nothing is downloaded (1.8 MB otherwise, then cached).

    Raises: DownloadError when a file does not come or is not what it should be.
    """
    if split not in FILES:
        raise ValueError(f"split must be one of {', '.join(FILES)}, not {split!r}")
    path = fetch(REPOSITORY, FILES[split], kind="dataset", revision=REVISION, local_dir=local_dir)
    rows = read_json_lines(path, {"text1": str, "text2": str, "label": int})
    return [Paraphrase(row["text1"], row["text2"], row["label"]) for row in rows]
