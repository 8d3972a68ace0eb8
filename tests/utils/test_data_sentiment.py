"""The grammar of reviews, against a reader that knows nothing but the text and which words praise and which blame."""

from __future__ import annotations

import json
import re
from collections import Counter

import huggingface_hub
import pytest

from utils.data import sentiment_lexicon as lexicon
from utils.data.hub import DownloadError
from utils.data.sentiment import FILES, REPOSITORY, REVISION, Example, more, reviews, sentiment, sst2

# --- a reader --------------------------------------------------------------------------------------------------------


def polarity_and_nouns() -> tuple[dict[str, int], dict[str, bool]]:
    """1 for words of praise and 0 for words of blame; nouns, and whether each is plural."""
    words: dict[str, int] = {}
    plural: dict[str, bool] = {}
    rows = [row for block in lexicon.DOMAINS.values() for row in re.findall(r"(.+?):([^:]+)\|([^:*]+?)(?=\n|$)", block)]
    for names, praise, blame in rows:
        plural |= {name.strip().lstrip("*"): name.strip()[0] == "*" for name in names.split(",")}
        words |= dict.fromkeys(praise.split(), 1) | dict.fromkeys(blame.split(), 0)
    pairs = [lexicon.STRONG, *lexicon.FELT, *lexicon.DID.values()]
    for praise, blame in pairs:
        words |= dict.fromkeys(re.split(r"[: ]", praise), 1) | dict.fromkeys(re.split(r"[: ]", blame), 0)
    words |= {more(word): label for word, label in words.items()} | {"like": 1, "enjoy": 1}
    return words, plural


POLARITY, PLURAL = polarity_and_nouns()
NEGATION = re.compile(r"\b(not|never|hardly|nothing|far from|anything but|by no means|failed to|far less)\b|n't\b")


def read(text: str) -> int:
    """The label of a sentence, by rules of English."""
    text = text.lower().rstrip(".")
    if found := re.match(r"(?:not )?even the .+ could (?:not )?(\w+) the", text):
        return int(found[1] in ("spoil", "ruin"))
    if found := re.match(r"my .+? was (right|wrong)(?:: | to call )(.+)", text):
        return read_clause(found[2]) ^ (found[1] == "wrong")
    if found := re.fullmatch(r"(my .+?), (and so did i|and i agreed|but i did not|but i disagreed)", text):
        return read_clause(found[1]) ^ found[2].startswith("but")
    if found := re.fullmatch(r"(.+), but it was (nothing of the kind|not|anything but)", text):
        return 1 - read_clause(found[1])
    text = re.sub(r"(?:despite|in spite of|for all) its [^,]+?(, |$)", "", text).strip()
    if found := re.match(r"(?:although|even though|though|while) [^,]+, (.+)", text):
        return read_clause(found[1])
    text = re.sub(r", (although|even though|though) .+", "", text)
    text = re.sub(r".+, but ", "", text)
    labels = {read_clause(clause) for clause in text.split(", and ")}
    assert len(labels) == 1, text
    return labels.pop()


def read_clause(clause: str) -> int:
    said = [POLARITY[word] for word in clause.split() if word in POLARITY]
    assert len(set(said)) == 1, (clause, said)
    if re.match(r"i have (never|rarely|hardly ever) |no \w+ i know is", clause):
        return said[0]
    if re.match(r"i have .* (far|much) ", clause):
        return 1 - said[0]
    return said[0] ^ bool(NEGATION.search(clause) or re.search(r"nowhere near as", clause))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The plot was not clever.", 0),
        ("The acting was never dull.", 1),
        ("Although the acting was superb, the film was dull.", 0),
        ("The film was dull, although the acting was superb.", 0),
        ("The acting was superb, but the film wasn't good.", 0),
        ("Despite its wooden dialogue, the film was not bad at all.", 1),
        ("My aunt was wrong to call the soup bland.", 1),
        ("My aunt told me that the soup was bland, and I agreed.", 0),
        ("I have never read a duller book.", 0),
        ("I have read far better books.", 0),
        ("The room was not as dark as I had feared.", 1),
        ("I expected the hotel to be dirty, but it was anything but.", 1),
        ("Even the superb acting could not save the film.", 0),
        ("There was nothing bland about the soup.", 1),
    ],
)
def test_the_reader_reads(text, label):
    assert read(text) == label


# --- the sentences ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return sentiment(6000, 1500, seed=3)


def test_a_reader_of_structure_finds_every_label(data):
    wrong = [example for part in data for example in part if read(example.text) != example.label]
    assert not wrong, wrong[:5]


def test_a_bag_of_words_does_not(data):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, held_out = data
    counter = CountVectorizer(token_pattern=r"[\w']+")
    model = LogisticRegression(max_iter=300, C=0.3)
    model.fit(counter.fit_transform([e.text for e in train]), [e.label for e in train])
    accuracy = model.score(counter.transform([e.text for e in held_out]), [e.label for e in held_out])
    assert 0.5 < accuracy < 0.7, accuracy


def test_the_sentences_are_different_balanced_and_of_the_number_asked_for(data):
    train, held_out = data
    assert (len(train), len(held_out)) == (6000, 1500)
    assert len({example.text for example in train + held_out}) == 7500
    for part in data:
        assert Counter(example.label for example in part) == {0: len(part) // 2, 1: len(part) // 2}
        assert 0.4 < sum(example.label for example in part[: len(part) // 2]) / (len(part) // 2) < 0.6


def test_a_held_out_sentence_says_of_a_noun_what_no_training_sentence_says(data):
    def said(examples):
        pairs = set()
        for text, _ in examples:
            pairs |= set(re.findall(r"(?:the|its|a) (\w+) (?:was|were) (\w+)\.", text.lower()))
        return pairs

    train, held_out = map(said, data)
    assert len(train) > 300 and len(held_out) > 80 and not train & held_out
    assert {noun for noun, _ in held_out} <= {noun for noun, _ in train}
    known = {word for text, _ in data[0] for word in re.findall(r"[\w']+", text.lower())}
    words = [word for text, _ in data[1] for word in re.findall(r"[\w']+", text.lower())]
    assert sum(word not in known for word in words) < 0.003 * len(words)  # some rare comparatives and plurals


def test_english_is_spelt_and_agrees(data):
    texts = [text for part in data for text, _ in part] + [text for review in reviews(500) for text in review]
    for text in texts:
        assert re.fullmatch(r"[A-Z][\w' ,:é-]+\.", text), text
        assert not re.search(
            r"\b(\w+) \1\b|  | ,|\ba [aeiou]|\ban [^aeiou]|\bmore \w+ier\b|(ch|sh|x|[^aeo]y)s\b", text
        ), text
        for noun, verb in re.findall(r"\b[Tt]he ((?:\w+ )?\w+) (was|were)(?:n't)? ", text):
            noun = noun if noun in PLURAL else noun.split()[-1]
            assert PLURAL[noun] == (verb == "were"), text


@pytest.mark.parametrize(
    ("word", "expected"),
    [("good", "better"), ("bad", "worse"), ("dull", "duller"), ("silly", "sillier"), ("rude", "ruder")]
    + [
        ("thin", "thinner"),
        ("dry", "drier"),
        ("watery", "more watery"),
        ("clever", "cleverer"),
        ("moving", "more moving"),
    ],
)
def test_comparatives(word, expected):
    assert more(word) == expected


def test_every_kind_of_sentence_occurs(data):
    texts = " ".join(text for text, _ in data[0]).lower()
    promised = (
        "although | , but | n't | never | hardly | not bad at all | anything but | far from | despite | failed to"
    )
    promised += " | nothing | i disagreed | was wrong to call | than i had feared | not as | rarely | , and | not even"
    for words in promised.split(" | "):
        assert words in texts, words


def test_a_seed_gives_the_same_sentences_again():
    assert sentiment(200, 50, seed=1) == sentiment(200, 50, seed=1) != sentiment(200, 50, seed=2)
    assert reviews(20, seed=1) == reviews(20, seed=1) != reviews(20, seed=2)


def test_tens_of_thousands_of_sentences_are_there():
    train, held_out = sentiment(40_000, 4_000)
    assert len({example.text for example in train + held_out}) == 44_000


# --- reviews ---------------------------------------------------------------------------------------------------------


def test_a_review_is_about_one_thing_and_of_one_mind():
    wholes = {
        noun for noun in PLURAL if any(f" {noun}," in f" {b.split(':')[0].strip()}," for b in lexicon.DOMAINS.values())
    }
    closings = {text for part in lexicon.CLOSINGS for text in part}
    for review in reviews(800, seed=5):
        assert 3 <= len(review) <= 6 and len(set(review)) == len(review), review
        (thing,) = re.findall(r"at this (\w+)|this (\w+)", review[0])
        thing = "".join(thing)
        text = " ".join(review)
        assert not {noun for noun in wholes - {thing} if re.search(rf"\b{noun}\b", text)}, review
        last = review[-1]
        closed = any(re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(closing)), last) for closing in closings)
        labels = {read(sentence) for sentence in review[1 : -1 if closed else None]}
        assert len(labels) == 1, review


def test_reviews_say_nothing_that_is_held_out():
    _, held_out = sentiment(0, 3000)
    simple = {text for text, _ in held_out}
    assert not simple & {sentence for review in reviews(2000) for sentence in review}


# --- real reviews ----------------------------------------------------------------------------------------------------

ROWS = [  # in the format of the hub's files
    {"text": "a stirring , funny and finally transporting re-imagining", "label": 1, "label_text": "positive"},
    {"text": "apparently reassembled from the cutting-room floor .", "label": 0, "label_text": "negative"},
    {"text": "naïve \u2028 but kind", "label": 1, "label_text": "positive"},
]


@pytest.fixture
def folder(tmp_path):
    for name in FILES.values():
        lines = [json.dumps(row, ensure_ascii=name != "train.jsonl") + "\n" for row in ROWS]
        (tmp_path / name).write_text("".join(lines), "utf-8")
    return tmp_path


def test_a_local_copy_of_sst2_is_read(folder):
    for split in ("train", "validation", "test"):
        assert sst2(split, local_dir=folder) == [Example(row["text"], row["label"]) for row in ROWS]


def test_the_hub_is_asked_for_the_pinned_file(folder, monkeypatch):
    def download(repo_id, filename, *, repo_type, revision):
        assert (repo_id, repo_type, revision) == (REPOSITORY, "dataset", REVISION)
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert sst2("validation")[0].label == 1


@pytest.mark.parametrize("line", ['{"text": "cut o', '{"text": "no label"}', '{"text": "x", "label": "1"}', "[1, 2]"])
def test_a_damaged_file_is_reported_with_its_line(folder, line):
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(DownloadError, match="line 4.*text, label.*download it again"):
        sst2("train", local_dir=folder)


def test_a_missing_file_and_an_unknown_split_are_reported(tmp_path):
    with pytest.raises(DownloadError, match="dev.jsonl is not there"):
        sst2("validation", local_dir=tmp_path)
    with pytest.raises(ValueError, match="train, validation, test"):
        sst2("dev")
