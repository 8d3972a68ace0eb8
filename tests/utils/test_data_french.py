"""The grammar of `utils.data.french`, against rules of French that are written down here once more, without it."""

from __future__ import annotations

import pytest

from utils.data import french_lexicon as lexicon
from utils.data.french import NOTHING, _rule, _spell, sentence_pairs, to_text

# --- a grammar checker for its vocabulary ----------------------------------------------------------------------------

ADJECTIVES = """
petit petite petits petites, grand grande grands grandes, gros grosse gros grosses, beau belle beaux belles,
bon bonne bons bonnes, jeune jeune jeunes jeunes, vieux vieille vieux vieilles, nouveau nouvelle nouveaux nouvelles,
rouge rouge rouges rouges, noir noire noirs noires, blanc blanche blancs blanches, vert verte verts vertes,
bleu bleue bleus bleues, cher chère chers chères, intéressant intéressante intéressants intéressantes,
célèbre célèbre célèbres célèbres, riche riche riches riches, heureux heureuse heureux heureuses,
triste triste tristes tristes, fatigué fatiguée fatigués fatiguées, malade malade malades malades,
intelligent intelligente intelligents intelligentes, dangereux dangereuse dangereux dangereuses,
calme calme calmes calmes, froid froide froids froides, chaud chaude chauds chaudes,
italien italienne italiens italiennes, français française français françaises
"""
BEFORE = {"petit", "grand", "gros", "beau", "bon", "jeune", "vieux", "nouveau"}
DETERMINERS = {  # * where a consonant must follow, + where a vowel must
    "ms": ["le*", "l'+", "un", "ce*", "cet+", "mon", "ton", "son", "notre", "votre", "leur"],
    "fs": ["la*", "l'+", "une", "cette", "ma*", "sa*", "mon+", "son+", "notre", "votre", "leur"],
    "p": ["les", "des", "ces", "mes", "ses", "nos", "vos", "leurs"]
    + ["deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix"],
}
PLURALS = {"journal": "journaux", "cheval": "chevaux", "hibou": "hiboux", "hôpital": "hôpitaux"}
ARTICLES = {word.rstrip("*+") for words in DETERMINERS.values() for word in words} | {"de", "d'", "du", "au", "aux"}
HOMOGRAPHS = ("lit", "avions")  # a bed, planes; he reads, we had
CLITICS = {"me", "m'", "le", "la", "l'", "nous", "vous", "les", "y"}
ETRE = {"suis", "est", "sommes", "êtes", "sont", "étais", "était", "étions", "étiez", "étaient"}
WITH_ETRE = ("allé", "venu", "arrivé", "parti")
AFTER_A_VERB = {"parce", "et", "mais", "à", "au", "aux", "de", "du", "dans", "avec", "?"}


def vowel(word: str) -> bool:
    return word[0] in "aeiouyéèêâîôûœà" or (word[0] == "h" and not word.startswith(("hibou", "huit")))


def adjective_forms() -> tuple[dict[str, set[str]], set[str]]:
    """What each form of an adjective goes with, such as "fs"; and the forms that stand before the noun."""
    forms: dict[str, set[str]] = {"bel": {"ms"}, "vieil": {"ms"}, "nouvel": {"ms"}}
    before = set(forms)
    for four in ADJECTIVES.replace("\n", " ").split(","):
        for form, what in zip(four.split(), ("ms", "fs", "mp", "fp"), strict=True):
            forms.setdefault(form, set()).add(what)
            before |= {form} if four.split()[0] in BEFORE else set()
    return forms, before


def noun_forms() -> dict[str, str]:
    """Gender and possible numbers of each form: "ms", "fp", "fsp"."""
    forms = {}
    for block in lexicon.NOUNS.values():
        for line in block.strip().splitlines():
            _, noun, gender, *_ = line.split()
            plural = PLURALS.get(noun) or noun + ("x" if noun.endswith("eau") else "" if noun[-1] in "sx" else "s")
            forms[plural] = f"{gender}p"
            forms[noun] = f"{gender}s" if plural != noun else f"{gender}sp"
    return forms


ADJECTIVE_FORMS, FORMS_BEFORE = adjective_forms()
NOUN_FORMS = noun_forms()


def mistakes(words: tuple[str, ...]) -> list[str]:
    """What is wrong with a French sentence; empty where nothing is. A word that is not known is no mistake."""
    return [*spelling(words), *negation(words), *noun_phrases(words), *verbs(words), *participles(words)]


def spelling(words):
    for word, after in zip(words, (*words[1:], "."), strict=True):
        if word in ("je", "me", "le", "la", "ne", "de", "que", "ma", "sa") and vowel(after):
            yield f"{word} before a vowel: {after}"
        if word.endswith("'") and not vowel(after):
            yield f"{word} before a consonant: {after}"
        if word in ("à", "de") and after in ("le", "les"):
            yield f"not contracted: {word} {after}"


def negation(words):
    for i, word in enumerate(words):
        if word in ("ne", "n'"):
            rest = [w for w in words[i + 1 : i + 7] if w not in CLITICS] + [""] * 4
            verb, second, after, next_but_one = rest[:4]
            if second not in ("pas", "jamais"):
                yield f"ne does not wrap one verb: {words[i : i + 5]}"
            indefinite = after in ("un", "une") or (after not in AFTER_A_VERB and next_but_one in ("un", "une"))
            if verb not in ETRE and indefinite:
                yield f"an indefinite object in a negation: {words[i : i + 8]}"
        if word in ("pas", "jamais") and not {"ne", "n'"} & set(words[max(0, i - 3) : i]):
            yield f"{word} without ne: {words[max(0, i - 3) : i + 1]}"


def noun_phrases(words):
    for i, noun in enumerate(words):
        if noun not in NOUN_FORMS:
            continue
        first, last = i, i
        while first and words[first - 1] in FORMS_BEFORE:
            first -= 1
        while words[last + 1 : last + 2] and words[last + 1] in ADJECTIVE_FORMS.keys() - FORMS_BEFORE:
            last += 1
        phrase, determiner, earlier = words[first : last + 1], words[first - 1], words[max(0, first - 8) : first - 1]
        gender, numbers = NOUN_FORMS[noun][0], NOUN_FORMS[noun][1:]
        said = f"{determiner} {' '.join(phrase)}"
        if determiner in ETRE | {"pas", "jamais"} or (noun in HOMOGRAPHS and determiner not in ARTICLES):
            continue  # she is a student; he reads
        if determiner in ("de", "d'"):
            negative = {"ne", "n'"} & set(earlier)
            if not (negative or earlier[-1:] == ("beaucoup",) or (first < i and "p" in numbers)):
                yield f"no article: {said}"
        elif determiner in ("du", "au"):
            numbers = "s" if gender == "m" and not vowel(phrase[0]) else ""
        elif determiner == "aux":
            numbers = "p"
        else:
            numbers = [n for n in numbers if determiner_fits(determiner, gender, n, phrase[0])]
        comes_from = any(word.startswith(("vien", "ven")) for word in earlier[-3:])
        if determiner == "des" and first < i and not comes_from:
            yield f"des before an adjective: {said}"
        if not any(all(f"{gender}{n}" in ADJECTIVE_FORMS[w] for w in phrase if w != noun) for n in numbers):
            yield f"no agreement: {said}"
        if phrase[0] in ("beau", "vieux", "nouveau") and list(numbers) == ["s"] and vowel(noun):
            yield f"before a vowel: {said}"
        if phrase[0] in ("bel", "vieil", "nouvel") and not vowel(noun):
            yield f"before a consonant: {said}"


def determiner_fits(determiner: str, gender: str, number: str, following: str) -> bool:
    allowed = DETERMINERS["p" if number == "p" else f"{gender}s"]
    return determiner in allowed or f"{determiner}{'+' if vowel(following) else '*'}" in allowed


def verbs(words):
    """The verb agrees with a pronoun before it, or with a noun phrase that opens the sentence."""
    for i, word in enumerate(words):
        pronoun = {"j'": "je", "elle": "il"}.get(word, word)
        opens = i == 0 or words[i - 1] in ("que", "qu'", "et", "mais")
        if pronoun not in ("je", "il", "ils") and not (opens and pronoun in ("nous", "vous")):
            continue
        verb = next((w for w in words[i + 1 :] if w not in CLITICS | {"ne", "n'"}), "")
        if not verb_fits(verb, pronoun):
            yield f"{word} {verb}"
    opening = next((i for i, word in enumerate(words) if word in NOUN_FORMS), 0)
    if 1 <= opening <= 2 and not set(words[:opening]) - FORMS_BEFORE - set(DETERMINERS["p"] + ["le", "la", "l'"]):
        end = opening + 1
        while words[end:] and words[end] in ADJECTIVE_FORMS.keys() - FORMS_BEFORE:
            end += 1
        verb = next((w for w in words[end:] if w not in CLITICS | {"ne", "n'"}), "")
        pronoun = "ils" if words[0] in DETERMINERS["p"] else "il"
        if verb not in ("du", "de", "d'", "et") and not verb_fits(verb, pronoun):
            yield f"{' '.join(words[:end])} {verb}"


def verb_fits(verb: str, pronoun: str) -> bool:
    plural = verb.endswith(("ent", "ont")) and verb != "vient"
    if pronoun in ("je", "il") and (plural or verb.endswith(("ons", "ez"))):
        return False
    return {
        "je": verb.endswith(("e", "s", "x", "ai")),
        "il": verb.endswith(("e", "t", "d", "a")),
        "nous": verb.endswith("ons") or verb == "sommes",
        "vous": verb.endswith("ez") or verb in ("êtes", "dites"),
        "ils": plural,
    }[pronoun]


def participles(words):
    """With *être* the participle agrees with the pronoun before it."""
    ending = {"je": "", "il": "", "elle": "e", "nous": "s", "vous": "", "ils": "s"}
    for i, word in enumerate(words):
        stem = word.removesuffix("s").removesuffix("e")
        clause = [w for w in words[:i] if w not in ("ne", "n'", "pas", "jamais")]
        if stem in WITH_ETRE and clause[-1] in ETRE and clause[-2] in ending and word != stem + ending[clause[-2]]:
            yield f"{clause[-2]} {clause[-1]} {word}"


WRONG = """
le homme dort
l' hibou dort
je aime le chat
il ne aime pas le chat
il pense que elle dort
est-ce que il dort ?
le chat noire dort
la chat dort
les petit chats dorment
les chats noir dorment
ma orange est bonne
ce homme dort
un vieux homme dort
un bel chat dort
il y a des petits chats
il va à le marché
il va au école
elle vient de le marché
ils parlent à les enfants
il ne mange la pomme
il mange pas la pomme
il ne mange pas une pomme
elle n' a pas vu un chat
je mange de pomme
nous mange la pomme
ils mange la pomme
il manges la pomme
les chats noirs mange la pomme
le chat mangent la pomme
elle est allé au marché
ils sont pas arrivé
"""


RIGHT = """
l' homme dort
le hibou dort
j' aime le chat noir
il n' aime pas le chat
de petits chats dorment
les vieux amis sont fatigués
un vieil homme et un bel arbre
mon orange est bonne
cet homme ne mange pas de pomme
je ne parle pas à un homme
elle vient des vieilles églises
nous nous aidons
elle n' est jamais allée à l' école
ce n' est pas un chat
elle est étudiante
beaucoup de chats dorment
il boit de l' eau froide
"""


@pytest.mark.parametrize("sentence", WRONG.strip().splitlines())
def test_the_checker_finds_the_mistake_in(sentence):
    assert mistakes(tuple(sentence.split()))


@pytest.mark.parametrize("sentence", RIGHT.strip().splitlines())
def test_the_checker_accepts(sentence):
    assert not mistakes(tuple(sentence.split()))


# --- the sentences ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return sentence_pairs(6000, 500, seed=3)


@pytest.fixture(scope="module")
def pairs(data):
    return data[0] + data[1]


def test_no_sentence_holds_a_mistake_of_french(pairs):
    wrong = [(to_text(pair.target), found) for pair in pairs if (found := mistakes(pair.target))]
    assert not wrong, wrong[:5]


PROMISED = """
l' | j' | n' | d' | qu' | m' | c' | au | aux | du | des | ne | pas | jamais | est-ce que | est-ce qu' | ? | bel | vieil
nouvel | cet | mon église | belles | le hibou | chevaux | je | il | elle | nous | vous | ils | où | pourquoi | qui
quand | qu' est-ce | il y a | il n' y a pas de | va | vais | ont mangé | est allée | plus | aussi | souvent | faim | ans
"""


@pytest.mark.parametrize("words", [words.strip() for words in PROMISED.replace("\n", "|").strip("|").split("|")])
def test_what_is_promised_occurs(pairs, words):
    assert any(f" {words} " in f" {' '.join(pair.target)} " for pair in pairs)


def test_numbers_and_lengths(data):
    train, held_out = data
    assert (len(train), len(held_out)) == (6000, 500)
    lengths = sorted(len(pair.source) for pair in held_out)
    assert lengths[len(lengths) * 2 // 3] >= 9 and lengths[-1] >= 15  # a longest third that is long
    short, _ = sentence_pairs(500, 50, max_length=6)
    assert max(len(pair.source) for pair in short) == 6


def test_classics_are_trained_on():
    train, _ = sentence_pairs(100, 10)
    found = {to_text(pair.source): to_text(pair.target) for pair in train}
    assert found["i am a student"] == "je suis étudiant"
    assert found["good morning"] == "bonjour"
    with pytest.raises(ValueError, match="always trained on"):
        sentence_pairs(3, 0)


def test_a_sentence_has_one_translation_and_stands_in_one_part(data):
    train, held_out = data
    everything = train + held_out
    assert len({pair.source for pair in everything}) == len({pair.target for pair in everything}) == len(everything)
    for side in ("source", "target"):
        known = {word for pair in train for word in getattr(pair, side)}
        assert known.issuperset(word for pair in held_out for word in getattr(pair, side))


def test_english_alone_decides_the_french():
    translation = {}
    for seed in range(4):
        for pair in sentence_pairs(2000, 0, seed=seed)[0]:
            assert translation.setdefault(pair.source, pair.target) == pair.target, to_text(pair.source)


def test_a_seed_gives_the_same_pairs_again():
    assert sentence_pairs(200, 20, seed=1) == sentence_pairs(200, 20, seed=1)
    assert sentence_pairs(200, 20, seed=1)[1] != sentence_pairs(200, 20, seed=2)[1]


def test_too_many_sentences_are_refused():
    with pytest.raises(ValueError, match="too few sentences of at most 1 words"):
        sentence_pairs(100, 0, max_length=1)


# --- the alignments --------------------------------------------------------------------------------------------------


def test_every_french_word_is_aligned_and_every_link_is_in_range(pairs):
    for pair in pairs:
        assert {j for _, j in pair.alignment} == set(range(len(pair.target))), to_text(pair.source)
        assert {i for i, _ in pair.alignment} <= set(range(len(pair.source)))


def test_only_words_without_a_translation_are_unaligned(pairs):
    unaligned = {
        word for pair in pairs for i, word in enumerate(pair.source) if i not in {i for i, _ in pair.alignment}
    }
    assert unaligned == {"do", "does", "to", "a", "an"}


DICTIONARY = {
    "not": "ne n' pas",
    "never": "ne n' jamais",
    "red": "rouge rouges",
    "green": "vert verte verts vertes",
    "beautiful": "beau bel belle beaux belles",
    "under": "sous",
    "because": "parce que qu'",
    "many": "beaucoup de d'",
    "them": "les",
    "two": "deux",
    "hungry": "faim",
    "yesterday": "hier",
    "'s": "le la l' les de d' du",
    "the": "le la l' les du des au aux",
    "horse": "cheval",
    "horses": "chevaux",
    "owls": "hiboux",
    "women": "femmes",
    "churches": "églises",
    "cakes": "gâteaux",
    "mice": "souris les",  # she loves mice: les souris
    "newspapers": "journaux les",
    "cherries": "cerises les",
    "eats": "mange",
    "ate": "ai a avons avez ont mangé",
    "?": "?",
}


@pytest.mark.parametrize("word", DICTIONARY)
def test_alignments_agree_with_a_dictionary(pairs, word):
    found = 0
    for pair in pairs:
        for i in (i for i, other in enumerate(pair.source) if other == word and "how" not in pair.source):
            linked = {pair.target[j] for k, j in pair.alignment if k == i}
            assert linked and linked <= set(DICTIONARY[word].split()), (linked, to_text(pair.source))
            found += 1
    assert found


@pytest.mark.parametrize(
    ("english", "french", "result", "links"),
    [  # worked by hand: English and French with marks, the French as it is written, its links
        ("the:d red:a car:c", "la:d voiture:c rouge:a", "la voiture rouge", "0-0 1-2 2-1"),
        ("i:s do not:n like:v it:o", "je:s ne:n le:o aime:v pas:n", "je ne l' aime pas", "0-0 2-1 2-4 3-3 4-2"),
        ("look_for:1 me:2", "me:2 cherche:1", "me cherche", "0-1 1-1 2-0"),
        ("he:a goes:b to:c the:d park:e", "il:a va:b à:c le:d parc:e", "il va au parc", "0-0 1-1 2-2 3-2 4-3"),
        ("the:a man:b 's:c dog:d", "le:c chien:d de:c le:a homme:b", "le chien de l' homme", "0-3 1-4 2-0 2-2 3-1"),
    ],
)
def test_alignments_worked_by_hand(english, french, result, links):
    pair = _spell(_rule(english, french))
    assert to_text(pair.target) == to_text(result.split())
    assert pair.alignment == {tuple(map(int, link.split("-"))) for link in links.split()}


def test_phrases_within_phrases_keep_their_links():
    cat = _rule("the:d black:a cat:n", "le:d chat:n noir:a")
    pair = _spell(
        _rule("NOBODY is:1 CAT tired:2 ?:3", "est-ce:1 que:1 CAT est:1 fatigué:2 NOBODY ?:3", CAT=cat, NOBODY=NOTHING)
    )
    assert to_text(pair.source) == "is the black cat tired ?"
    assert to_text(pair.target) == "est-ce que le chat noir est fatigué ?"
    assert pair.alignment == {(0, 0), (0, 1), (0, 5), (1, 2), (2, 4), (3, 3), (4, 6), (5, 7)}


def test_text_is_written_as_one_writes_it():
    assert to_text(("est-ce", "qu'", "elle", "n'", "est", "pas", "là", "?")) == "est-ce qu'elle n'est pas là ?"
    assert to_text(("aujourd'hui", "l'", "homme", "dort")) == "aujourd'hui l'homme dort"
    assert to_text(("the", "man", "'s", "hat")) == "the man's hat"
