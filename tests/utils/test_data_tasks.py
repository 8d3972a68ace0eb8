"""Text to text: the four tasks, their prefixes, and a small grammar of English that judges acceptability on its own."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from utils.data import acceptability, headlines
from utils.data.acceptability import sentence
from utils.data.french import sentence_pairs
from utils.data.tasks import PREFIXES, TextPair, task_pairs

# --- all tasks -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tasks():
    return {task: task_pairs(task, 2000, 500, seed=3) for task in PREFIXES}


@pytest.mark.parametrize("task", PREFIXES)
def test_pairs_are_as_many_as_asked_for_and_no_source_comes_twice(tasks, task):
    train, held_out = tasks[task]
    assert (len(train), len(held_out)) == (2000, 500)
    assert len({pair.source for pair in train + held_out}) == 2500


@pytest.mark.parametrize("task", PREFIXES)
def test_texts_are_tokens_with_spaces_in_lower_case(tasks, task):
    for source, target in tasks[task][0]:
        prefix, text = source[: len(PREFIXES[task])], source[len(PREFIXES[task]) + 1 :]
        assert prefix == PREFIXES[task] and text == text.strip() and target == target.strip()
        for side in (text, target):
            assert side and side == side.lower() and "  " not in side
            assert not re.search(r"\w[.,:?]|[.,:?]\w|\ba [aeiou]", side) or task == "translate"


def test_prefixes_are_t5s():
    assert PREFIXES["translate"] == "translate English to French:"
    assert list(PREFIXES) == ["translate", "sentiment", "summarize", "acceptable"]
    assert [prefix for prefix in PREFIXES.values()][1:] == ["sentiment:", "summarize:", "acceptable:"]


@pytest.mark.parametrize("task", PREFIXES)
def test_words_of_held_out_pairs_were_trained_on(tasks, task):
    train, held_out = tasks[task]
    known = {word for pair in train for side in pair for word in side.split()}
    words = [word for pair in held_out for side in pair for word in side.split()]
    assert sum(word not in known for word in words) < 0.003 * len(words)


@pytest.mark.parametrize("task", PREFIXES)
def test_a_seed_gives_the_same_pairs_and_a_length_is_kept(task):
    pairs = task_pairs(task, 150, 20, seed=1, max_length=20)
    assert pairs == task_pairs(task, 150, 20, seed=1, max_length=20) != task_pairs(task, 150, 20, seed=2, max_length=20)
    for part in pairs:
        assert max(len(source[len(PREFIXES[task]) :].split()) for source, _ in part) <= 20


def test_translations_are_the_grammars():
    pairs = sentence_pairs(120, 10, seed=4)[1]
    expected = [TextPair(f"translate English to French: {' '.join(p.source)}", " ".join(p.target)) for p in pairs]
    assert task_pairs("translate", 120, 10, seed=4)[1] == expected


def test_labels_are_words_and_balanced(tasks):
    for task, labels in {"sentiment": ("negative", "positive"), "acceptable": ("unacceptable", "acceptable")}.items():
        for part in tasks[task]:
            assert Counter(target for _, target in part) == {label: len(part) // 2 for label in labels}


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="translate, sentiment, summarize, acceptable"):
        task_pairs("summarise", 10, 10)
    with pytest.raises(ValueError, match="too few such texts"):
        task_pairs("summarize", 10, 0, max_length=3)


# --- headlines -------------------------------------------------------------------------------------------------------


def test_a_headline_says_who_does_what_to_what_and_where(tasks):
    active = {re.sub("^(a|the) ", "", who.strip("*")): (did, does) for who, did, does, *_ in headlines.NEWS}
    for part in tasks["summarize"]:
        for source, target in part:
            subject = next(who for who in active if target.startswith(f"{who} "))
            did, does = active[subject]
            present, thing, city = re.fullmatch(rf"{subject} (\w+) (.+) in (\w+)", target).groups()
            assert present in (does, f"{does}s") and (present == does) == subject.endswith("s")
            sentences = source.removeprefix("summarize: ").split(" . ")
            (lead,) = [text for text in sentences if re.search(rf"\b{thing}\b", text)]
            assert f"in {city}" in lead and f" {did} " in f"{lead} " and subject in lead
            assert (f"was {did} by" in lead) == (lead.index(thing) < lead.index(subject))
            assert not {"a", "an", "the", "was", "by"} & set(target.split())


def test_a_headline_is_not_always_the_beginning_and_has_to_choose_its_city(tasks):
    texts = [source.removeprefix("summarize: ") for source, _ in tasks["summarize"][0]]
    cities = [sum(text.count(f" {city} ") for city in headlines.CITIES) for text in texts]
    assert sum(n == 2 for n in cities) > 0.3 * len(texts)
    openings = tuple(row[4].rstrip(".") for row in headlines.NEWS)
    assert 0.2 < sum(text.startswith(openings) for text in texts) / len(texts) < 0.6


def test_held_out_news_is_new(tasks):
    train, held_out = ({target for _, target in part} for part in tasks["summarize"])
    assert not train & held_out


# --- acceptability ---------------------------------------------------------------------------------------------------


def tags() -> dict[str, str]:
    """One letter for each word: what it can be in a sentence."""
    found = {word: "d" for word in ("the", "my")} | {word: "s" for word in ("a", "an", "this", "that", "every")}
    found |= {word: "p" for word in ("these", "those", "some", "many", "two")}
    found |= {word: "A" for word in {*acceptability.OF_ANIMATE, *acceptability.OF_THINGS, *acceptability.OF_PLACES}}
    for one, many in acceptability.PEOPLE + acceptability.ANIMALS + acceptability.THINGS + acceptability.PLACES:
        found |= {one: "n", many: "m"}
    for part in ("ALONE", "HUMAN", "TO_ANIMATE", "TO_OBJECT", "REFLEXIVE"):
        for verb in getattr(acceptability, part):
            found |= {verb.base: "b", verb.third: "t", verb.ing: "g", verb.participle: "q"}
    found |= {"is": "i", "was": "i", "are": "j", "were": "j", "has": "h", "have": "k", "does": "x", "do": "y"}
    found |= {"can": "o", "will": "o", "must": "o", "not": "!", "very": "v", "himself": "f", "herself": "f"}
    return found | {"themselves": "F", "near": "r", "behind": "r", "beside": "r", "next_to": "r", "in_front_of": "r"}


TAGS = tags()
ONE, MANY = "[ds]A?n", "[dp]A?m"
PLACE = f"r(?:{ONE}|{MANY})"
SENTENCE = re.compile(
    f"{ONE}(?:{PLACE})?(?:(?:t|x!b|ob|hq|ig)(?:{ONE}|{MANY}|{PLACE}|f)?|iv?A)"
    f"|{MANY}(?:{PLACE})?(?:(?:b|y!b|ob|kq|jg)(?:{ONE}|{MANY}|{PLACE}|F)?|jv?A)"
)


def grammatical(text: str) -> bool:
    words = text.rstrip(" .").replace("next to", "next_to").replace("in front of", "in_front_of").split()
    if not SENTENCE.fullmatch("".join(TAGS[word] for word in words)):
        return False
    subject = next(word for word in words if TAGS[word] in "nm")
    own = {"himself": acceptability.HE, "herself": acceptability.SHE}.get(words[-1])
    return own is None or subject in own


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("the keys near the lamp are old", True),
        ("the keys near the lamp is old", False),
        ("a king near these trees has chosen two boxes", True),
        ("a king near these trees have chosen two boxes", False),
        ("every dog can sleeps", False),
        ("this children sing", False),
        ("the door green is old", False),
        ("dog the sleeps", False),
        ("the woman washes himself", False),
        ("my uncles do not trust themselves", True),
    ],
)
def test_the_grammar_judges(text, good):
    assert grammatical(text) == good


def test_what_is_called_acceptable_is_grammatical_and_nothing_else_is(tasks):
    for part in tasks["acceptable"]:
        for source, target in part:
            assert grammatical(source.removeprefix("acceptable: ")) == (target == "acceptable"), source


def test_spoilt_sentences_differ_in_many_ways(tasks):
    bad = " ".join(source for source, target in tasks["acceptable"][0] if target == "unacceptable")
    assert re.search(r"\b(boxes|kings|dogs)( \w+)* (is|was|has|does) ", bad)
    assert re.search(r"\b(can|will|must) \w+s\b", bad) and re.search(r"\b(this|every) (children|women|\w+[^s]s) ", bad)
    assert re.search(r"\b\w+ (the|every|two) \.|\b(boy|king|dog) the\b", bad)


def test_a_verb_next_to_another_noun_agrees_with_its_subject(tasks):
    """The number of the nearest noun is no help."""
    near = [re.search(r"(?:near|behind|beside|to|of) \w+ (?:\w+ )?(\w+) (is|are|was|were|has|have|does|do) ", source)
            for source, target in tasks["acceptable"][0] if target == "acceptable"]  # fmt: skip
    agree = [(TAGS[m[1]] == "m") == (m[2] in ("are", "were", "have", "do")) for m in near if m and m[1] in TAGS]
    assert len(agree) > 100 and 0.35 < sum(agree) / len(agree) < 0.65


def test_a_bag_of_words_does_not_judge(tasks):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    (train, held_out), counter = tasks["acceptable"], CountVectorizer(token_pattern=r"\w+")
    model = LogisticRegression(max_iter=300, C=0.3)
    model.fit(counter.fit_transform([source for source, _ in train]), [target for _, target in train])
    assert model.score(counter.transform([s for s, _ in held_out]), [t for _, t in held_out]) < 0.7


def test_it_can_be_drawn_from_one_generator():
    import random

    generator = random.Random(0)
    texts = [sentence(generator, held_out=False, acceptable=True) for _ in range(50)]
    assert len(set(texts)) > 45 and all(text.endswith(".") for text in texts)
