"""The pairs of `utils.data.paraphrase`, against a reader that turns each sentence into who did what to whom."""

from __future__ import annotations

import json
import re
from collections import Counter

import huggingface_hub
import pytest

from utils.data import paraphrase
from utils.data.hub import DownloadError
from utils.data.paraphrase import FILES, REPOSITORY, REVISION, Paraphrase, mrpc, paraphrases

# --- a reader --------------------------------------------------------------------------------------------------------

PHRASES = "|".join(entry[0] for entry in paraphrase.TIMES + paraphrase.PLACES)
LEMMA = {  # every form of a verb, and of its synonym
    form: entry[0].split(":")[0]
    for entry in paraphrase.TO_PEOPLE + paraphrase.TO_THINGS
    for word in entry
    for form in (word.split(":") if ":" in word else [word, word + ("d" if word[-1] == "e" else "ed")])
}
NAME = {name: entry[0] for entry in paraphrase.PEOPLE for name in entry}
GIFTS = {
    "gave": "give",
    "given": "give",
    "got": "give",
    "sold": "sell",
    "bought": "sell",
    "lent": "lend",
    "borrowed": "lend",
}
BACK = {back: there for there, back in paraphrase.CONVERSE}
ANTONYMS = {}
for did, do, failed, fail, objects in paraphrase.CONTRARY:
    for thing in objects.split(", "):
        ANTONYMS |= {(did, thing): (did, 1), (f"did not {do}", thing): (did, 0)}
        ANTONYMS |= {(failed, thing): (did, 0), (f"did not {fail}", thing): (did, 1)}


def read(sentence: str) -> tuple:
    """What a sentence says, the same for all sentences that say it."""
    text = sentence[0].lower() + sentence[1:].rstrip(".")
    adjuncts = frozenset(re.findall(rf"\b({PHRASES})\b", text))
    text = " ".join(re.sub(rf",? ?\b({PHRASES})\b,?", " ", text).split())
    for name in sorted(NAME, key=len, reverse=True):
        text = re.sub(rf"the {name}\b", f"@{NAME[name].replace(' ', '_')}", text)
    text = re.sub(r"^it (?:is|was) (@\w+) who ", r"\1 ", text)
    text = re.sub(r"^it was (@\w+) that (@\w+) (\w+)$", r"\2 \3 \1", text)
    text = re.sub(r"^it was from (@\w+) that (@\w+ \w+ the \w+)$", r"\2 from \1", text)
    text = re.sub(r"^compared with (@\w+), (@\w+ is \w+)$", r"\2 than \1", text)
    return (*_core(text), adjuncts)


def _core(text: str) -> tuple:
    word = r"(@\w+)"
    for pattern, order in (
        (rf"{word} (gave|sold|lent) the (\w+) to {word}", (1, 0, 2, 3)),
        (rf"{word} (gave|sold|lent) {word} the (\w+)", (1, 0, 3, 2)),
        (rf"the (\w+) was (given|sold|lent) to {word} by {word}", (1, 3, 0, 2)),
        (rf"{word} was (given|sold|lent) the (\w+) by {word}", (1, 3, 2, 0)),
        (rf"{word} (got|bought|borrowed) the (\w+) from {word}", (1, 3, 2, 0)),
    ):
        if found := re.fullmatch(pattern, text):
            verb, giver, thing, taker = (found[i + 1] for i in order)
            return GIFTS[verb], giver, thing, taker
    if found := re.fullmatch(rf"{word} (.+) {word}", text):
        first, between, second = found.groups()
        if between in BACK:
            return BACK[between], second, first
        if between in BACK.values():
            return between, first, second
    if found := re.fullmatch(rf"{word} ((?:did not )?\w+) (the [\w ]+)", text):
        did, true = ANTONYMS[found[2], found[3]]
        return did, found[1], found[3], true
    if found := re.fullmatch(rf"(@\w+|\w+ \w+) (?:was|were) (not )?(\w+) by {word}", text):
        return LEMMA[found[3]], found[4], found[1], bool(found[2])
    found = re.fullmatch(rf"{word} (did not )?(\w+) (@\w+|\w+ \w+)", text)
    return LEMMA[found[3]], found[1], found[4], bool(found[2])


@pytest.mark.parametrize(
    ("a", "b", "label"),
    [
        ("The nurse thanked the pilot.", "The pilot was thanked by the nurse.", 1),
        ("The nurse thanked the pilot.", "The pilot thanked the nurse.", 0),
        ("On Monday, the doctor saved the cook.", "It was the chef that the physician rescued on Monday.", 1),
        ("The baker sold the tailor the lamp.", "The tailor bought the lamp from the baker.", 1),
        ("The baker sold the lamp to the tailor.", "The baker bought the lamp from the tailor.", 0),
        ("Compared with the actor, the mayor is richer.", "The actor is poorer than the mayor.", 1),
        ("It is the actor who is richer than the mayor.", "The actor is poorer than the mayor.", 0),
        ("The mayor did not forget the meeting.", "It was the mayor who remembered the meeting.", 1),
        ("The mayor did not forget the meeting.", "The mayor did not remember the meeting.", 0),
        ("Two boats were found by the mayor.", "The mayor discovered three boats.", 0),
    ],
)
def test_the_reader_reads(a, b, label):
    assert (read(a) == read(b)) == bool(label)


# --- the pairs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return paraphrases(6000, 1500, seed=3)


def test_a_reader_of_structure_finds_every_label(data):
    wrong = [pair for part in data for pair in part if (read(pair.a) == read(pair.b)) != bool(pair.label)]
    assert not wrong, wrong[:5]


def overlap(pair: Paraphrase) -> list[float]:
    """What the words of two sentences tell, without their order."""
    a, b = (re.findall(r"\w+", text.lower()) for text in pair[:2])
    both, either = set(a) & set(b), set(a) | set(b)
    features = [len(both) / len(either), len(set(a) - both), len(set(b) - both), len(a), len(b), len(a) - len(b)]
    return [*features, "not" in a, "not" in b, ("not" in a) != ("not" in b)]


def test_overlap_of_words_does_not_tell_the_labels_apart(data):
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, held_out = data
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    model.fit([overlap(pair) for pair in train], [pair.label for pair in train])
    assert model.score([overlap(pair) for pair in held_out], [pair.label for pair in held_out]) < 0.57


def test_pairs_are_different_balanced_and_of_the_number_asked_for(data):
    train, held_out = data
    assert (len(train), len(held_out)) == (6000, 1500)
    assert len({frozenset(pair[:2]) for pair in train + held_out}) == 7500
    for part in data:
        assert Counter(pair.label for pair in part) == {0: len(part) // 2, 1: len(part) // 2}
        assert all(pair.a != pair.b for pair in part)


def test_what_a_held_out_pair_is_about_no_training_pair_is_about(data):
    def facts(pairs):
        return {frozenset(fact[:-1]) - {True, False} for pair in pairs for fact in (read(pair.a), read(pair.b))}

    train, held_out = map(facts, data)
    assert len(held_out) > 800 and not train & held_out
    known = {word for pair in data[0] for word in re.findall(r"\w+", f"{pair.a} {pair.b}".lower())}
    assert known.issuperset(word for pair in data[1] for word in re.findall(r"\w+", f"{pair.a} {pair.b}".lower()))


def test_every_kind_of_pair_occurs(data):
    texts = " ".join(f"{pair.a} {pair.b}" for pair in data[0])
    promised = "was praised by | It was the | that the | bought the | from the | sold the | On Monday, | did not miss"
    promised += " | is older than | Compared with the | lives below | three | were painted by | physician | in front of"
    for words in promised.split(" | "):
        assert words in texts, words
    shared = [set(re.findall(r"\w+", p.a.lower())) == set(re.findall(r"\w+", p.b.lower())) for p in data[0]]
    labels = [pair.label for pair, same in zip(data[0], shared, strict=True) if same]
    assert len(labels) > 100 and 0.35 < sum(labels) / len(labels) < 0.65  # the same words, and yet


def test_english_is_spelt():
    for pair in paraphrases(2000, 0, seed=8)[0]:
        for text in pair[:2]:
            assert re.fullmatch(r"[A-Z][\w ,]+\.", text) and "  " not in text and " ," not in text, text
            assert not re.search(r"\b(\w+) \1\b|eed\b.*by|ss by|\w+eded\b", text), text


def test_a_seed_gives_the_same_pairs_again():
    assert paraphrases(200, 50, seed=1) == paraphrases(200, 50, seed=1) != paraphrases(200, 50, seed=2)


# --- real pairs ------------------------------------------------------------------------------------------------------

ROWS = [  # in the format of the hub's files
    {"text1": "Amrozi accused him .", "text2": "He was accused .", "label": 1, "idx": 0, "label_text": "equivalent"},
    {"text1": "Shares rose .", "text2": "Shares fell .", "label": 0, "idx": 1, "label_text": "not equivalent"},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in FILES.values():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return tmp_path


def test_a_local_copy_of_mrpc_is_read(folder, monkeypatch):
    expected = [Paraphrase(row["text1"], row["text2"], row["label"]) for row in ROWS]
    assert [mrpc(split, local_dir=folder) for split in FILES] == [expected] * 3

    def download(repo_id, filename, *, repo_type, revision):
        assert (repo_id, repo_type, revision) == (REPOSITORY, "dataset", REVISION)
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert mrpc("validation") == expected


def test_a_damaged_file_and_an_unknown_split_are_reported(folder):
    (folder / "test.jsonl").write_text('{"text1": "one", "label": 1}\n', "utf-8")
    with pytest.raises(DownloadError, match="line 1.*text1, text2, label"):
        mrpc("test", local_dir=folder)
    with pytest.raises(ValueError, match="train, validation, test"):
        mrpc("dev")
