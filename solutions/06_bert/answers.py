"""Planted answers for lesson 06: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from autograder.authoring.answers import right, wrong

# --- wordpiece -------------------------------------------------------------------------------------------------------


@wrong("takes the shortest piece", says="not a shorter one")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(start + 1, len(word) + 1):
            if prefix + word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


@wrong("no ## in front of later pieces", says="a piece that continues a word starts with ##")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(word[start:end])
        start = end
    return pieces


@wrong("looks later pieces up with ##, returns them without", says="a piece that continues a word starts with ##")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(word[start:end])
        start = end
    return pieces


@wrong("goes back when it is stuck", says="greedy never goes back")
def wordpiece(word, vocab):
    def spell(start):
        if start == len(word):
            return []
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab and (rest := spell(end)) is not None:
                return [prefix + word[start:end], *rest]
        return None

    return spell(0) or ["[UNK]"]


@wrong("keeps what it has and adds [UNK]", says="makes the whole word [UNK]")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                break
        else:
            return [*pieces, "[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


@wrong("a later piece may also start a word", says="it cannot start one")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            found = [p for p in (word[start:end], "##" + word[start:end]) if p in vocab]
            if found:
                break
        else:
            return ["[UNK]"]
        pieces.append(found[-1 if start else 0])
        start = end
    return pieces


@wrong("the longest prefix wins, but a single letter is always accepted", says="[UNK]")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        end = len(word)
        while end > start + 1 and prefix + word[start:end] not in vocab:
            end -= 1
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


@wrong("an unknown word is the string [UNK]", says="is a list, too")
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                break
        else:
            return "[UNK]"
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


@right("as in BERT's own code: two nested while loops")
def wordpiece(word, vocab):
    out, start = [], 0
    while start < len(word):
        end, found = len(word), None
        while start < end:
            piece = word[start:end]
            if start > 0:
                piece = "##" + piece
            if piece in vocab:
                found = piece
                break
            end -= 1
        if found is None:
            return ["[UNK]"]
        out.append(found)
        start = end
    return out


@right("by recursion on the rest")
def wordpiece(word, vocab):
    def spell(rest):
        if rest in ("", "##"):
            return []
        for end in range(len(rest), 2 if rest.startswith("##") else 0, -1):
            if rest[:end] in vocab:
                tail = spell("##" + rest[end:])
                return None if tail is None else [rest[:end], *tail]
        return None

    found = spell(word)
    return ["[UNK]"] if found is None else found


# --- pack ------------------------------------------------------------------------------------------------------------


@wrong("the ids of the special pieces are those of another vocabulary", says="with the id that the vocabulary gives it")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    first, second = [2, *a, 3], [] if b is None else [*second, 3]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [0] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("the first [SEP] belongs to b", says="its segment is 0")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a], [sep] if b is None else [sep, *second, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("no [SEP] at the end", says="two [SEP]")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - 2:
        (a if len(a) > len(second) else second).pop()
    first = [vocab["[CLS]"], *a, vocab["[SEP]"]]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("the padding's segment is 1", says="segments: 1 for b and its [SEP], else 0")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    ids = torch.tensor(first + second + [vocab["[PAD]"]] * (length - n))
    return ids, (torch.arange(length) >= len(first)).long(), torch.arange(length) < n


@wrong("True for padding, as PyTorch's own layer wants it", says="the mask is upside down")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    ids = torch.tensor(first + second + [vocab["[PAD]"]] * (length - n))
    return ids, torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)), torch.arange(length) >= n


@wrong("reads the mask off the ids", says="do not look for the id of [PAD]")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    ids = torch.tensor(first + second + [vocab["[PAD]"]] * (length - n))
    return ids, torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)), ids != vocab["[PAD]"]


@wrong("cuts the packed input, and with it the last [SEP]", says="both [SEP] stay")
def pack(a, b=None, *, vocab, length):
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*b, sep]
    n = min(length, len(first) + len(second))
    ids = (first + second + [vocab["[PAD]"]] * length)[:length]
    segments = ([0] * len(first) + [1] * len(second) + [0] * length)[:length]
    return torch.tensor(ids), torch.tensor(segments), torch.arange(length) < n


@wrong("cuts only b", says="cut the longer text")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (second or a).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("cuts at the front", says="cut the last pieces")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop(0)
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("in a tie a loses a piece", says="b loses a piece")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) >= len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("cuts the lists that it was given", says="cut a copy")
def pack(a, b=None, *, vocab, length):
    while len(a) + len(b or []) > length - (2 if b is None else 3):
        (a if len(a) > len(b or []) else b).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*b, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("an empty b is no b", says="an empty b is still a b")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (3 if b else 2):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [*second, sep] if b else []
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [vocab["[PAD]"]] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@wrong("lists, not tensors", says="are tensors")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    ids = first + second + [vocab["[PAD]"]] * (length - n)
    return ids, [0] * len(first) + [1] * len(second) + [0] * (length - n), [i < n for i in range(length)]


@wrong("pads with 0", says="which need not be 0")
def pack(a, b=None, *, vocab, length):
    a, second = list(a), list(b or [])
    while len(a) + len(second) > length - (2 if b is None else 3):
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n = len(first) + len(second)
    return (
        torch.tensor(first + second + [0] * (length - n)),
        torch.tensor([0] * len(first) + [1] * len(second) + [0] * (length - n)),
        torch.arange(length) < n,
    )


@right("how much to keep by arithmetic; filled tensors")
def pack(a, b=None, *, vocab, length):
    if b is None:
        n_a, n_b = min(len(a), length - 2), 0
    else:
        room = length - 3
        n_b = min(len(b), max(room // 2, room - len(a)))
        n_a = min(len(a), room - n_b)
    ids = torch.full((length,), vocab["[PAD]"])
    segments, mask = torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.bool)
    ids[0], ids[n_a + 1] = vocab["[CLS]"], vocab["[SEP]"]
    ids[1 : n_a + 1] = torch.tensor(a[:n_a], dtype=torch.long)
    end = n_a + 2
    if b is not None:
        ids[end : end + n_b] = torch.tensor(b[:n_b], dtype=torch.long)
        ids[end + n_b] = vocab["[SEP]"]
        segments[end : end + n_b + 1] = 1
        end += n_b + 1
    mask[:end] = True
    return ids, segments, mask


@right("place by place, in a list")
def pack(a, b=None, *, vocab, length):
    a, b = a[:], None if b is None else b[:]
    while len(a) + (0 if b is None else 1 + len(b)) + 2 > length:
        if b is None or len(a) > len(b):
            a = a[:-1]
        else:
            b = b[:-1]
    places = [(vocab["[CLS]"], 0, True), *((i, 0, True) for i in a), (vocab["[SEP]"], 0, True)]
    if b is not None:
        places += [(i, 1, True) for i in [*b, vocab["[SEP]"]]]
    while len(places) < length:
        places.append((vocab["[PAD]"], 0, False))
    ids, segments, mask = zip(*places, strict=True)
    return [torch.tensor(ids), torch.tensor(segments), torch.tensor(mask)]


# --- mask_tokens -----------------------------------------------------------------------------------------------------


@wrong("80 % hidden, 20 % replaced, none stays", says="stay as they are")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = (ids + 1 + torch.randint(len(vocab) - 1, ids.shape, generator=generator)) % len(vocab)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8), drawn, inputs), labels


@wrong("80 % hidden, 20 % replaced, some by chance with the true piece", says="stay")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8), drawn, inputs), labels


@wrong("80 % hidden, 20 % stay", says="become a piece drawn at random")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    action = torch.rand(ids.shape, generator=generator)
    return torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids), ids.masked_fill(~chosen, -100)


@wrong("all chosen places are hidden", says="all chosen places are [MASK]")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    return torch.where(chosen, vocab["[MASK]"], ids), ids.masked_fill(~chosen, -100)


@wrong("10 % of the rest is replaced: 80/2/18", says="about")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    hide = torch.rand(ids.shape, generator=generator) < 0.8
    replace = torch.rand(ids.shape, generator=generator) < 0.1
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & hide, vocab["[MASK]"], ids)
    return torch.where(chosen & ~hide & replace, drawn, inputs), labels


@wrong("special pieces are chosen too", says="a special piece was chosen")
def mask_tokens(ids, vocab, generator):
    chosen = torch.rand(ids.shape, generator=generator) < 0.15
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("special pieces are assumed to have the ids 0 to 4", says="a special piece was chosen")
def mask_tokens(ids, vocab, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & (ids > 4)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("labels everywhere", says="no place of yours has")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), ids.clone()


@wrong("labels for every plain piece", says="labels everywhere")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    plain = ~torch.isin(ids, special)
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & plain
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    inputs = torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs)
    return inputs, ids.masked_fill(~plain, -100)


@wrong("the whole batch has the same mask", says="each text gets the same mask")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape[1], generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("the labels are read after the pieces were hidden", says="from before it was hidden")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    inputs = torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs)
    return inputs, inputs.masked_fill(~chosen, -100)


@wrong("changes the ids in place", says="work on a copy")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    ids[chosen & (action < 0.8)] = vocab["[MASK]"]
    replaced = chosen & (action >= 0.8) & (action < 0.9)
    ids[replaced] = drawn[replaced]
    return ids, labels


@wrong("chance comes from the global generator", says="chance must come from `generator` alone")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape)
    drawn = torch.randint(len(vocab), ids.shape)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("one random piece for the whole batch", says="drawn anew")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    pair = torch.tensor([5, len(vocab) - 6])
    drawn = pair[torch.randint(2, ids.shape, generator=generator)]
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("random pieces from the first half of the vocabulary", says="uniformly from the whole vocabulary")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab) // 2, ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("half of the places are chosen", says="15 %")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.5) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("the label of the others is 0", says="no place of yours has")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, 0)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("random pieces from the fifth on, as if the first five were the special ones", says="the whole vocabulary")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(5, len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@wrong("exactly 15 % of each text", says="chosen by itself")
def mask_tokens(ids, vocab, generator):
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    luck = torch.rand(ids.shape, generator=generator).masked_fill(torch.isin(ids, special), 2.0)
    plain = (luck < 2).sum(1, keepdim=True)
    count = (0.15 * plain + torch.rand(len(ids), 1, generator=generator)).floor()
    chosen = luck.argsort(1).argsort(1) < count
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels


@right("by probabilities and torch.bernoulli, as in Hugging Face's collator")
def mask_tokens(ids, vocab, generator):
    inputs, labels = ids.clone(), ids.clone()
    p = torch.full(ids.shape, 0.15)
    for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        p[ids == vocab[piece]] = 0.0
    chosen = torch.bernoulli(p, generator=generator).bool()
    labels[~chosen] = -100
    hidden = torch.bernoulli(torch.full(ids.shape, 0.8), generator=generator).bool() & chosen
    inputs[hidden] = vocab["[MASK]"]
    replaced = torch.bernoulli(torch.full(ids.shape, 0.5), generator=generator).bool() & chosen & ~hidden
    inputs[replaced] = torch.randint(len(vocab), (int(replaced.sum()),), generator=generator)
    return inputs, labels


@right("place by place, one random number for both decisions")
def mask_tokens(ids, vocab, generator):
    special = {vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    rows, labels = ids.tolist(), torch.full_like(ids, -100)
    luck = torch.rand(ids.shape, generator=generator).tolist()
    for i, row in enumerate(rows):
        for j, piece in enumerate(row):
            u = luck[i][j]
            if piece in special or u >= 0.15:
                continue
            labels[i, j] = piece
            if u < 0.12:
                row[j] = vocab["[MASK]"]
            elif u < 0.135:
                row[j] = torch.randint(0, len(vocab), (1,), generator=generator).item()
    return torch.tensor(rows), labels


# --- next_sentence_pairs ---------------------------------------------------------------------------------------------


@wrong("label 1 for the next sentence", says="label 0")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 1))
            else:
                other = others[int(torch.randint(len(others), (), generator=generator))]
                pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 0))
    return pairs


@wrong("the stranger may come from the same document", says="not from the same one")
def next_sentence_pairs(documents, generator):
    pairs = []
    for document in documents:
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 0))
            else:
                other = documents[int(torch.randint(len(documents), (), generator=generator))]
                pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("all sentences of all other documents are equally likely", says="draw a document first")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        strangers = [s for other in documents[:i] + documents[i + 1 :] for s in other]
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 0))
            else:
                pairs.append((a, strangers[int(torch.randint(len(strangers), (), generator=generator))], 1))
    return pairs


@wrong("always the first sentence of the other document", says="draw any sentence")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 0))
            else:
                pairs.append((a, others[int(torch.randint(len(others), (), generator=generator))][0], 1))
    return pairs


@wrong("both pairs of each sentence", says="is the first once")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            other = others[int(torch.randint(len(others), (), generator=generator))]
            pairs.append((a, b, 0))
            pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("pairs across the end of a document", says="is the first once")
def next_sentence_pairs(documents, generator):
    text = [(i, s) for i, document in enumerate(documents) for s in document]
    pairs = []
    for (i, a), (_, b) in zip(text, text[1:], strict=False):
        others = documents[:i] + documents[i + 1 :]
        if torch.randint(2, (), generator=generator):
            pairs.append((a, b, 0))
        else:
            other = others[int(torch.randint(len(others), (), generator=generator))]
            pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("every second pair follows, without chance", says="use `generator`")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if len(pairs) % 2:
                pairs.append((a, b, 0))
            else:
                other = others[int(torch.randint(len(others), (), generator=generator))]
                pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("chance from Python's random", says="`generator` alone")
def next_sentence_pairs(documents, generator):
    import random

    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if random.random() < 0.5:
                pairs.append((a, b, 0))
            else:
                pairs.append((a, random.choice(random.choice(others)), 1))
    return pairs


@wrong("15 % strangers", says="a fair coin")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if torch.rand((), generator=generator) > 0.15:
                pairs.append((a, b, 0))
            else:
                other = others[int(torch.randint(len(others), (), generator=generator))]
                pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("never the last of the other documents", says="the last of the other documents is never drawn")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 0))
            else:
                other = others[int(torch.randint(0, len(others) - 1, (), generator=generator))]
                pairs.append((a, other[int(torch.randint(len(other), (), generator=generator))], 1))
    return pairs


@wrong("never the last sentence of a document", says="the last sentence of a document is never drawn")
def next_sentence_pairs(documents, generator):
    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for a, b in zip(document, document[1:], strict=False):
            if torch.randint(2, (), generator=generator):
                pairs.append((a, b, 0))
            else:
                other = others[int(torch.randint(len(others), (), generator=generator))]
                last = max(1, len(other) - 1)
                pairs.append((a, other[int(torch.randint(0, last, (), generator=generator))], 1))
    return pairs


@right("by indices, drawn again until the document is another")
def next_sentence_pairs(documents, generator):
    def below(n):
        return torch.randint(0, n, (1,), generator=generator).item()

    out = []
    for i in range(len(documents)):
        for j in range(len(documents[i]) - 1):
            if torch.rand(1, generator=generator).item() < 0.5:
                out.append((documents[i][j], documents[i][j + 1], 0))
                continue
            k = below(len(documents))
            while k == i:
                k = below(len(documents))
            out.append((documents[i][j], documents[k][below(len(documents[k]))], 1))
    return out


@right("all coins first, other documents by a shifted index")
def next_sentence_pairs(documents, generator):
    firsts = [(d, s) for d, document in enumerate(documents) for s in range(len(document) - 1)]
    coins = torch.rand(len(firsts), 3, generator=generator, dtype=torch.float64).tolist()
    pairs = []
    for (d, s), (coin, which, where) in zip(firsts, coins, strict=True):
        other = documents[(d + 1 + int(which * (len(documents) - 1))) % len(documents)]
        second = documents[d][s + 1] if coin >= 0.5 else other[int(where * len(other))]
        pairs.append([documents[d][s], second, int(coin < 0.5)])
    return pairs


# --- BertEmbeddings --------------------------------------------------------------------------------------------------


@wrong("no positions", says="the positions are missing")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.segment(segments))


@wrong("no segments", says="the segments are missing")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1])))


@wrong("no table of segments", says="three tables")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1])))


@wrong("no norm on the sum", says="through the norm")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.word(ids) + self.position(torch.arange(ids.shape[1])) + self.segment(segments)


@wrong("normalises the words only", says="add first, then normalise")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids)) + self.position(torch.arange(ids.shape[1])) + self.segment(segments)


@wrong("positions count from 1", says="positions count from 0")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        positions = torch.arange(1, ids.shape[1] + 1)
        return self.norm(self.word(ids) + self.position(positions) + self.segment(segments))


@wrong("PyTorch's eps", says="eps is 1e-12")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1])) + self.segment(segments))


@wrong("a missing segment is the last one", says="without segments, all are 0")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.ones_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1])) + self.segment(segments))


@wrong("always two segments", says="three tables")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(2, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1])) + self.segment(segments))


@right("rows of the position table by slicing")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config.d_model
        self.word, self.position = nn.Embedding(config.vocab_size, d), nn.Embedding(config.max_length, d)
        self.segment, self.norm = nn.Embedding(config.n_segments, d), nn.LayerNorm(d, 1e-12)

    def forward(self, ids, segments=None):
        x = self.word(ids) + self.position.weight[: ids.size(1)]
        x = x + (self.segment.weight[0] if segments is None else self.segment(segments))
        return self.norm(x)


@right("one-hot products in place of lookups")
class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        for name, n in (("word", config.vocab_size), ("position", config.max_length), ("segment", config.n_segments)):
            self.add_module(name, nn.Embedding(n, config.d_model))
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)

    def forward(self, ids, segments=None):
        if segments is None:
            segments = ids * 0

        def look(table, index):
            return F.one_hot(index, table.num_embeddings).to(table.weight.dtype) @ table.weight

        places = torch.arange(ids.shape[-1]).expand(ids.shape)
        return self.norm(look(self.word, ids) + look(self.position, places) + look(self.segment, segments))


# --- Bert ------------------------------------------------------------------------------------------------------------


@wrong("pre-norm blocks", says="pre-norm")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("ignores the mask", says="the mask is not used")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x)
        return x, self.pooler(x[:, 0]).tanh()


@wrong("masks only the first block", says="right without padding")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for i, block in enumerate(self.blocks):
            x = block(x, mask[:, None] if mask is not None and i == 0 else None)
        return x, self.pooler(x[:, 0]).tanh()


@wrong("hands the mask on as it is, where that fits", says="without the axis for queries")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        if mask is not None and mask.shape[0] != mask.shape[1]:
            mask = mask[:, None]
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, mask)
        return x, self.pooler(x[:, 0]).tanh()


@wrong("the mask upside down, as PyTorch's own layer wants it", says="the mask is upside down")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else ~mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("the mask on the queries", says="right without padding")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, :, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("hands the mask on as it is", says="lacks the axis for queries")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask)
        return x, self.pooler(x[:, 0]).tanh()


@wrong("forgets the segments", says="the segments do not reach")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("no tanh", says="ends with a tanh")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0])


@wrong("pools the mean", says="pool the first place")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x.mean(1)).tanh()


@wrong("pools the last place, as a GPT must", says="not the last")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, -1]).tanh()


@wrong("one block, again and again", says="share their weights")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        block = EncoderBlock(config.d_model, config.n_heads, config.d_hidden, pre_norm=False, eps=1e-12)
        self.blocks = nn.ModuleList([block] * config.n_layers)
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("a plain list of blocks, which nn.Module does not see", says="parameters are missing")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = [EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers)]
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("a norm after the last block, as with pre-norm", says="parameters that a BERT does not have")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return self.norm(x), self.pooler(self.norm(x)[:, 0]).tanh()


@wrong("PyTorch's eps", says="eps is 1e-12")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("ReLU, as in 2017", says="GELU")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(
            EncoderBlock(*sizes, pre_norm=False, eps=1e-12, activation=F.relu) for _ in range(config.n_layers)
        )
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x, self.pooler(x[:, 0]).tanh()


@wrong("returns hidden alone", says="two tensors")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, None if mask is None else mask[:, None])
        return x


@right("the mask as (b, l, l), and a mask of True where none is given")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.blocks = nn.ModuleList()
        for _ in range(config.n_layers):
            self.blocks.append(
                EncoderBlock(config.d_model, config.n_heads, d_hidden=config.d_hidden, pre_norm=False, eps=1e-12)
            )
        self.pooler = nn.Linear(config.d_model, config.d_model)

    def forward(self, ids, segments=None, mask=None):
        if mask is None:
            mask = torch.ones(ids.shape, dtype=torch.bool, device=ids.device)
        mask = mask[:, None, :].expand(-1, ids.shape[1], -1)
        x = self.embeddings(ids, segments)
        for block in self.blocks:
            x = block(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0, :]))


@right("blocks folded by reduce; pooled by the first of an unbind; returns a list")
class Bert(nn.Module):
    def __init__(self, config):
        super().__init__()
        kinds = [EncoderBlock] * config.n_layers
        self.pooler = nn.Linear(config.d_model, config.d_model)
        self.blocks = nn.ModuleList(
            [kind(config.d_model, config.n_heads, config.d_hidden, pre_norm=False, eps=1e-12) for kind in kinds]
        )
        self.embeddings = BertEmbeddings(config)

    def forward(self, ids, segments=None, mask=None):
        from functools import reduce

        keep = None if mask is None else mask.unsqueeze(-2)
        hidden = reduce(lambda x, block: block(x, keep), self.blocks, self.embeddings(ids, segments))
        return [hidden, self.pooler(hidden.unbind(1)[0]).tanh()]


# --- mlm_loss --------------------------------------------------------------------------------------------------------


@wrong("the sum", says="not the sum")
def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")


@wrong("the mean over all places", says="not of all places")
def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / labels.numel()


@wrong("places without a label count as piece 0", says="the mean of -log p")
def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten().clamp(min=0))


@wrong("NaN where nothing is chosen", says="not NaN")
def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


@wrong("a mean of each text's mean", says="mean of means")
def mlm_loss(logits, labels):
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    rows = [F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True) if (y != -100).any()]
    return sum(rows) / max(1, len(rows))


@wrong("turns the loss into a plain number", says="scalar tensor")
def mlm_loss(logits, labels):
    chosen = labels != -100
    return F.cross_entropy(logits[chosen], labels[chosen]).item() if chosen.any() else 0.0


@wrong("only for a batch of texts", says="any number of axes")
def mlm_loss(logits, labels):
    total = F.cross_entropy(logits.transpose(1, 2), labels, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)


@wrong("every NaN becomes 0", says="must stay visible")
def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten()).nan_to_num(0)


@right("by hand, from log-probabilities of the chosen places")
def mlm_loss(logits, labels):
    chosen = labels != -100
    logp = logits[chosen].log_softmax(-1)
    picked = logp.gather(-1, labels[chosen].unsqueeze(-1))
    return -picked.sum() / max(1, int(chosen.sum()))


@right("F.cross_entropy, and a zero that hangs on the logits")
def mlm_loss(logits, labels):
    if (labels == -100).all():
        return (logits * 0).sum()
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100)


# --- bert_parameters -------------------------------------------------------------------------------------------------


@wrong("no pooler", says="the pooler is missing")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + (d + 1) * n_classes


@wrong("no norms", says="the norms are missing")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d
    block = 4 * (d * d + d) + 2 * d * h + h + d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("no biases", says="the biases are missing")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * d * d + 2 * d * h + 4 * d
    return embeddings + config.n_layers * block + d * d + d * n_classes


@wrong("no segments", says="segments is missing")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("the feed-forward part is always four times as wide", says="need not be 4 d")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, 4 * config.d_model
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("one block only", says="each has its own parameters")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + block + d * d + d + (d + 1) * n_classes


@wrong("a head without a bias", says="the head has a bias too")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d + d * n_classes


@wrong("no head", says="the head is a layer")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d


@wrong("three projections", says="four projections")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 3 * (d * d + d) + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("projections without biases", says="have biases, too")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * d * d + 2 * d * h + h + d + 4 * d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("one norm a block", says="a block has two norms")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + 2 * d * h + h + d + 2 * d
    return embeddings + config.n_layers * block + d * d + d + (d + 1) * n_classes


@wrong("counts a model's parameters", says="may not use `Bert`")
def bert_parameters(config, n_classes=0):
    with torch.device("meta"):
        model = Bert(config)
    return sum(p.numel() for p in model.parameters()) + n_classes * (config.d_model + 1)


@right("part by part, with the head last")
def bert_parameters(config, n_classes=0):
    d, h = config.d_model, config.d_hidden
    parts = [config.vocab_size * d, config.max_length * d, config.n_segments * d, 2 * d, d * d + d]
    parts += config.n_layers * [4 * d * d, 4 * d, d * h, h, h * d, d, 2 * d, 2 * d]
    parameters = sum(parts)
    return parameters + n_classes * d + n_classes


@right("layer by layer, with two little helpers")
def bert_parameters(config, n_classes=0):
    def layer(m, n):
        return m * n + n

    d = config.d_model
    norm = 2 * d
    total = d * sum([config.vocab_size, config.max_length, config.n_segments]) + norm
    for _ in range(config.n_layers):
        total += 4 * layer(d, d) + norm + layer(d, config.d_hidden) + layer(config.d_hidden, d) + norm
    return total + layer(d, d) + layer(d, n_classes)


# --- best_span -------------------------------------------------------------------------------------------------------


@wrong("start and end each for itself", says="look in the context only")
def best_span(start_logits, end_logits, context, max_length):
    return int(start_logits.argmax()), int(end_logits.argmax())


@wrong("start and end each for itself, in the context", says="choose the pair")
def best_span(start_logits, end_logits, context, max_length):
    start = int(start_logits.masked_fill(~context, -torch.inf).argmax())
    end = int(end_logits.masked_fill(~context, -torch.inf).argmax())
    return start, min(end, start + max_length - 1)


@wrong("the best start first, then the best end after it", says="compare pairs")
def best_span(start_logits, end_logits, context, max_length):
    start = int(start_logits.masked_fill(~context, -torch.inf).argmax())
    ends = end_logits.masked_fill(~context, -torch.inf)[start : start + max_length]
    return start, start + int(ends.argmax())


@wrong("looks in the question too", says="look in the context only")
def best_span(start_logits, end_logits, context, max_length):
    n = len(start_logits)
    pairs = [(i, j) for i in range(n) for j in range(i, min(n, i + max_length))]
    return max(pairs, key=lambda p: float(start_logits[p[0]] + end_logits[p[1]]))


@wrong("a span may have one place more", says="max_length=2 has 2 places")
def best_span(start_logits, end_logits, context, max_length):
    inside = [i for i in range(len(context)) if context[i]]
    pairs = [(i, j) for i in inside for j in inside if i <= j <= i + max_length]
    return max(pairs, key=lambda p: float(start_logits[p[0]] + end_logits[p[1]]))


@wrong("the end is exclusive", says="inclusive")
def best_span(start_logits, end_logits, context, max_length):
    inside = [i for i in range(len(context)) if context[i]]
    pairs = [(i, j) for i in inside for j in inside if i <= j < i + max_length]
    start, end = max(pairs, key=lambda p: float(start_logits[p[0]] + end_logits[p[1]]))
    return start, end + 1


@wrong("no limit on the length", says="max_length=2 has 2 places")
def best_span(start_logits, end_logits, context, max_length):
    inside = [i for i in range(len(context)) if context[i]]
    pairs = [(i, j) for i in inside for j in inside if i <= j]
    return max(pairs, key=lambda p: float(start_logits[p[0]] + end_logits[p[1]]))


@wrong("rows and columns of the table swapped", says="end comes before the start")
def best_span(start_logits, end_logits, context, max_length):
    n = len(start_logits)
    i = torch.arange(n)
    width = i[:, None] - i
    allowed = (width >= 0) & (width < max_length) & context & context[:, None]
    return divmod(int((start_logits[:, None] + end_logits).masked_fill(~allowed, -torch.inf).argmax()), n)


@wrong("tensors, not ints", says="return ints")
def best_span(start_logits, end_logits, context, max_length):
    n = len(start_logits)
    i = torch.arange(n)
    width = i - i[:, None]
    allowed = (width >= 0) & (width < max_length) & context & context[:, None]
    best = (start_logits[:, None] + end_logits).masked_fill(~allowed, -torch.inf).argmax()
    return best // n, best % n


@wrong("forbidden pairs get a score of 0", says="needs −∞, not 0")
def best_span(start_logits, end_logits, context, max_length):
    n = len(start_logits)
    i = torch.arange(n)
    width = i - i[:, None]
    allowed = (width >= 0) & (width < max_length) & context & context[:, None]
    return divmod(int(((start_logits[:, None] + end_logits) * allowed).argmax()), n)


@wrong("the end may lie behind the context", says="both ends must be in it")
def best_span(start_logits, end_logits, context, max_length):
    n = len(start_logits)
    pairs = [(i, j) for i in range(n) for j in range(i, min(n, i + max_length)) if context[i]]
    return max(pairs, key=lambda p: float(start_logits[p[0]] + end_logits[p[1]]))


@wrong("two loops that begin with a best score of 0", says="needs −∞, not 0")
def best_span(start_logits, end_logits, context, max_length):
    best, found = 0, (0, 0)
    for i in range(len(start_logits)):
        for j in range(i, min(i + max_length, len(start_logits))):
            score = (start_logits[i] + end_logits[j]).item()
            if context[i] and context[j] and score > best:
                best, found = score, (i, j)
    return found


@right("two loops")
def best_span(start_logits, end_logits, context, max_length):
    best, found = float("-inf"), None
    for i in range(len(start_logits)):
        for j in range(i, min(i + max_length, len(start_logits))):
            score = (start_logits[i] + end_logits[j]).item()
            if context[i] and context[j] and (found is None or score > best):
                best, found = score, (i, j)
    return found


@right("a band of the table: triu and tril; returns a list")
def best_span(start_logits, end_logits, context, max_length):
    start = start_logits.double().masked_fill(~context, -torch.inf)
    end = end_logits.double().masked_fill(~context, -torch.inf)
    table = start.unsqueeze(1) + end.unsqueeze(0)
    band = torch.ones_like(table).triu().tril(max_length - 1).bool()
    table = torch.where(band, table, torch.tensor(-torch.inf, dtype=torch.float64))
    row = int(table.max(1).values.argmax())
    return [row, int(table[row].argmax())]


# --- mean_pool -------------------------------------------------------------------------------------------------------


@wrong("padding counts", says="use the mask")
def mean_pool(hidden, mask):
    return hidden.mean(1)


@wrong("the sum", says="divide the sum")
def mean_pool(hidden, mask):
    return (hidden * mask[..., None]).sum(1)


@wrong("divides by the length", says="not by the length")
def mean_pool(hidden, mask):
    return (hidden * mask[..., None]).mean(1)


@wrong("NaN where all is padding", says="not NaN")
def mean_pool(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@wrong("the mean over the batch", says="one vector for each input")
def mean_pool(hidden, mask):
    return (hidden * mask[..., None]).sum(0) / mask.sum(0)[:, None].clamp(min=1)


@wrong("the mask upside down", says="where the mask is True")
def mean_pool(hidden, mask):
    return (hidden * ~mask[..., None]).sum(1) / (~mask).sum(1, keepdim=True).clamp(min=1)


@right("input by input")
def mean_pool(hidden, mask):
    return torch.stack([h[m].mean(0) if m.any() else torch.zeros_like(h[0]) for h, m in zip(hidden, mask, strict=True)])


@right("weights that sum to 1, and a batched product")
def mean_pool(hidden, mask):
    weights = mask.to(hidden.dtype) / mask.sum(-1, keepdim=True).clamp(min=1)
    return (weights.unsqueeze(1) @ hidden).squeeze(1)
