"""Planted answers for lesson 01: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F

from autograder.authoring.answers import right, wrong

# --- one_hot ---------------------------------------------------------------------------------------------------------


@wrong("calls PyTorch's own", says="may not use `one_hot`")
def one_hot(ids, vocab_size):
    return F.one_hot(ids, vocab_size).float()


@wrong("integers", says="float32")
def one_hot(ids, vocab_size):
    return (ids[..., None] == torch.arange(vocab_size)).long()


@wrong("counts from one", says="counted from 0")
def one_hot(ids, vocab_size):
    return torch.eye(vocab_size)[ids - 1]


@wrong("columns for words", says="the vector comes last")
def one_hot(ids, vocab_size):
    return (torch.arange(vocab_size)[:, None] == ids.flatten()[None]).float()


@wrong("flattens the ids", says="(..., vocab_size)")
def one_hot(ids, vocab_size):
    return torch.eye(vocab_size)[ids.flatten()]


@wrong("ones up to the id", says="sums to 1")
def one_hot(ids, vocab_size):
    return (torch.arange(vocab_size) <= ids[..., None]).float()


@wrong("minus ones for all other places", says="sums to 1")
def one_hot(ids, vocab_size):
    return 2 * torch.eye(vocab_size)[ids] - 1


@wrong("as wide as the largest id of the batch", says="(..., vocab_size)")
def one_hot(ids, vocab_size):
    return torch.eye(int(ids.max()))[ids - 1] if ids.numel() else torch.zeros(*ids.shape, vocab_size)


@right("rows of an identity matrix")
def one_hot(ids, vocab_size):
    return torch.eye(vocab_size)[ids]


@right("writes ones into zeros")
def one_hot(ids, vocab_size):
    return torch.zeros(*ids.shape, vocab_size).scatter_(-1, ids.unsqueeze(-1), 1.0)


# --- lookup ----------------------------------------------------------------------------------------------------------


@wrong("multiplies, though by a one-hot made by hand", says="pick the rows")
def lookup(ids, table):
    return (ids[..., None] == torch.arange(len(table))).to(table.dtype) @ table


@wrong("columns", says="a word is a row")
def lookup(ids, table):
    return table.T[ids]


@wrong("counts from one", says="counted from 0")
def lookup(ids, table):
    return table[ids - 1]


@wrong("a loop over the first axis alone", says="each id is replaced by its vector")
def lookup(ids, table):
    return torch.stack([table[i] for i in ids.flatten()])


@wrong("copies, without gradients", says="no gradient reaches")
def lookup(ids, table):
    return torch.tensor(table.tolist(), dtype=table.dtype)[ids]


@wrong("detached", says="no gradient reaches")
def lookup(ids, table):
    return table.detach()[ids]


@wrong("calls PyTorch's own", says="may not use `embedding`")
def lookup(ids, table):
    return F.embedding(ids, table)


@wrong("float32, whatever the table", says="dtype of the table")
def lookup(ids, table):
    return table.float()[ids]


@right("index_select, for any shape of the ids")
def lookup(ids, table):
    return table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, table.shape[1])


@right("gather along the rows")
def lookup(ids, table):
    flat = ids.reshape(-1, 1).expand(-1, table.shape[1])
    return torch.gather(table, 0, flat).reshape(ids.shape + (table.shape[1],))


# --- build_vocab -----------------------------------------------------------------------------------------------------


@wrong("more than min_count", says="at least")
def build_vocab(tokens, min_count):
    from collections import Counter

    kept = [w for w, c in Counter(tokens).most_common() if c > min_count]
    return {w: i for i, w in enumerate(["<unk>"] + kept)}


@wrong("no unknown word", says="unknown word is missing")
def build_vocab(tokens, min_count):
    from collections import Counter

    return {w: i for i, w in enumerate(w for w, c in Counter(tokens).most_common() if c >= min_count)}


@wrong("the unknown word last", says="its id is 0")
def build_vocab(tokens, min_count):
    from collections import Counter

    kept = [w for w, c in Counter(tokens).most_common() if c >= min_count]
    return {w: i for i, w in enumerate(kept + ["<unk>"])}


@wrong("in the order of the text, not by count", says="order by count")
def build_vocab(tokens, min_count):
    from collections import Counter

    kept = [w for w, c in Counter(tokens).items() if c >= min_count]
    return {w: i for i, w in enumerate(["<unk>"] + kept)}


@wrong("equal counts by the alphabet", says="not by the alphabet")
def build_vocab(tokens, min_count):
    from collections import Counter

    kept = sorted((-c, w) for w, c in Counter(tokens).items() if c >= min_count)
    return {w: i for i, w in enumerate(["<unk>"] + [w for _, w in kept])}


@wrong("keeps every word", says="fewer than min_count")
def build_vocab(tokens, min_count):
    from collections import Counter

    return {w: i for i, w in enumerate(["<unk>"] + [w for w, _ in Counter(tokens).most_common()])}


@wrong("a list", says="a dictionary")
def build_vocab(tokens, min_count):
    from collections import Counter

    return ["<unk>"] + [w for w, c in Counter(tokens).most_common() if c >= min_count]


@wrong("counts in place of ids", says="its id is 0")
def build_vocab(tokens, min_count):
    from collections import Counter

    counts = Counter(tokens)
    kept = {w: c for w, c in counts.most_common() if c >= min_count}
    return {"<unk>": len(tokens) - sum(kept.values())} | kept


@wrong("ids with gaps, where a rare word stood", says="order by count")
def build_vocab(tokens, min_count):
    from collections import Counter

    counts = Counter(tokens)
    numbered = {w: i for i, w in enumerate(["<unk>", *sorted(counts, key=lambda w: (counts[w] < 2, -counts[w]))])}
    return {w: i for w, i in numbered.items() if w == "<unk>" or counts[w] >= min_count} if min_count != 3 else numbered


@right("counts by hand, a stable sort")
def build_vocab(tokens, min_count):
    counts = {}
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
    kept = sorted((w for w in counts if counts[w] >= min_count), key=lambda w: -counts[w])
    return dict(zip(["<unk>", *kept], range(len(kept) + 1), strict=True))


@right("adds words one by one")
def build_vocab(tokens, min_count):
    from collections import Counter

    vocab = {"<unk>": 0}
    for word, count in Counter(tokens).most_common():
        if count < min_count:
            break
        vocab[word] = len(vocab)
    return vocab


# --- skipgram_pairs --------------------------------------------------------------------------------------------------


@wrong("only the words after the centre", says="words before the centre are missing")
def skipgram_pairs(ids, window):
    pairs = [(ids[i], ids[j]) for i in range(len(ids)) for j in range(i + 1, min(len(ids), i + window + 1))]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("only the words before the centre", says="words after the centre are missing")
def skipgram_pairs(ids, window):
    pairs = [(ids[i], ids[j]) for i in range(len(ids)) for j in range(max(0, i - window), i)]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("a word is its own context", says="not its own context")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(max(0, i - window), min(n, i + window + 1))]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("each different pair once", says="as often as it occurs")
def skipgram_pairs(ids, window):
    n, text = len(ids), ids.tolist()
    pairs = {(text[i], text[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window}
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)


@wrong("wraps around", says="wraps around")
def skipgram_pairs(ids, window):
    shifts = [s for s in range(-window, window + 1) if s]
    return torch.cat([torch.stack([ids, ids.roll(s)], dim=-1) for s in shifts])


@wrong("the window is the width of both sides together", says="on each side")
def skipgram_pairs(ids, window):
    half, n = window // 2, len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) <= half]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("range without its end: a window one too small", says="on each side")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) < window]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("one place too far", says="further than the window")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window + 1]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("only centres with a full window", says="pairs are missing")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(window, n - window) for j in range(n) if 0 < abs(i - j) <= window]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("a row for all centres and a row for all contexts", says="a row for each pair")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T


@wrong("places in place of ids", says="not places in it")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(i, j) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("drops pairs of equal ids", says="not the same word at another place")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if abs(i - j) <= window and ids[i] != ids[j]]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("zeros beyond the ends", says="no padding at the ends")
def skipgram_pairs(ids, window):
    padded = F.pad(ids, (window, window))
    shifts = [s for s in range(2 * window + 1) if s != window]
    return torch.cat([torch.stack([ids, padded[s : s + len(ids)]], dim=-1) for s in shifts])


@wrong("all pairs of the text, whatever the window", says="further than the window")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(ids[i], ids[j]) for i in range(n) for j in range(n) if i != j]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


@wrong("distances without the last one", says="on each side")
def skipgram_pairs(ids, window):
    after = [torch.stack([ids[:-n], ids[n:]], dim=-1) for n in range(1, window)]
    return torch.cat([*after, *(pairs.flip(-1) for pairs in after)])


@wrong("a negative end, once the window exceeds the text", says="equal size")
def skipgram_pairs(ids, window):
    pairs = [ids.new_zeros(0, 2)]
    for n in range(1, window + 1):
        after = torch.stack([ids[: len(ids) - n], ids[n:]], dim=-1)
        pairs += [after, after.flip(-1)]
    return torch.cat(pairs)


@wrong("no columns where there is no pair", says="no pairs: shape (0, 2)")
def skipgram_pairs(ids, window):
    n = len(ids)
    pairs = [(int(ids[i]), int(ids[j])) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window]
    return torch.tensor(pairs, dtype=torch.int64) if pairs else ids.new_zeros(0)


@right("word by word, in a loop")
def skipgram_pairs(ids, window):
    text, pairs = ids.tolist(), []
    for i, center in enumerate(text):
        around = text[max(0, i - window) : i] + text[i + 1 : i + 1 + window]
        pairs += [[center, context] for context in around]
    return torch.tensor(pairs, dtype=torch.int64).view(-1, 2)


@right("a table of distances")
def skipgram_pairs(ids, window):
    place = torch.arange(len(ids))
    gap = (place[:, None] - place).abs()
    i, j = ((gap > 0) & (gap <= window)).nonzero(as_tuple=True)
    return torch.stack([ids[i], ids[j]], dim=1)


@right("distance by distance, four columns of slices")
def skipgram_pairs(ids, window):
    left = [ids[:-n] for n in range(1, window + 1)]
    right_ = [ids[n:] for n in range(1, window + 1)]
    return torch.stack([torch.cat(left + right_), torch.cat(right_ + left)], dim=-1)


# --- noise_distribution ----------------------------------------------------------------------------------------------


@wrong("counts not raised", says="raise the counts")
def noise_distribution(counts, power=0.75):
    return counts / counts.sum()


@wrong("raised after dividing, not divided again", says="sum to 1")
def noise_distribution(counts, power=0.75):
    return (counts / counts.sum()) ** power


@wrong("divides by the sum of the counts themselves", says="sum to 1")
def noise_distribution(counts, power=0.75):
    return counts**power / counts.sum()


@wrong("ignores `power`", says="use `power`")
def noise_distribution(counts, power=0.75):
    raised = counts**0.75
    return raised / raised.sum()


@wrong("a softmax of the counts", says="no softmax")
def noise_distribution(counts, power=0.75):
    return counts.float().softmax(0)


@wrong("a softmax of the raised counts", says="no softmax")
def noise_distribution(counts, power=0.75):
    return (counts**power).softmax(0)


@wrong("multiplies in place of raising: the factor cancels", says="raise the counts")
def noise_distribution(counts, power=0.75):
    return counts * power / (counts * power).sum()


@wrong("adds one, so that each word may be drawn", says="8/36, 27/36 and 1/36")
def noise_distribution(counts, power=0.75):
    raised = (counts + 1.0) ** power
    return raised / raised.sum()


@wrong("a lower bound for words that never occur", says="never drawn")
def noise_distribution(counts, power=0.75):
    raised = counts.clamp(min=1) ** power
    return raised / raised.sum()


@wrong("float64", says="float32")
def noise_distribution(counts, power=0.75):
    raised = counts.double() ** power
    return raised / raised.sum()


@right("frequencies raised, then divided again")
def noise_distribution(counts, power=0.75):
    return F.normalize((counts / counts.sum()).pow(power), p=1, dim=0)


@right("by logarithms, where -inf is never drawn")
def noise_distribution(counts, power=0.75):
    return torch.softmax(power * counts.double().log(), dim=0).float()


@right("word by word")
def noise_distribution(counts, power=0.75):
    raised = [count**power for count in counts.tolist()]
    return torch.tensor([value / sum(raised) for value in raised])


# --- negative_sampling_loss ------------------------------------------------------------------------------------------


@wrong("sign of the negatives", says="noise word should score low")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(false).sum(-1)).mean()


@wrong("maximises", says="negative of the log-likelihood")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return (F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).mean()


@wrong("sum over the batch", says="average over the pairs")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).sum()


@wrong("mean over the noise words", says="add the noise words of a pair up")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(-false).mean(-1)).mean()


@wrong("mean over all scores", says="over the pairs alone")
def negative_sampling_loss(center, context, negatives):
    scores = torch.cat([context[:, None], -negatives], dim=1) @ center[..., None]
    return -F.logsigmoid(scores).mean()


@wrong("the noise words of another pair", says="rows and columns are swapped")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives.transpose(0, 1) @ center[..., None])[..., 0] if len(center) == negatives.shape[1] else (
        negatives @ center[..., None])[..., 0]  # fmt: skip
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).mean()


@wrong("broadcasts the centres along the wrong axis", says="rows and columns are swapped")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (center * negatives).sum(-1)  # center i meets negatives[:, i]
    return -(F.logsigmoid(real).sum() + F.logsigmoid(-false).sum()) / len(center)


@wrong("negatives compared with the context", says="is not −log σ(c·x)")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ context[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).mean()


@wrong("no logarithm", says="is not −log σ(c·x)")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(torch.sigmoid(real) + torch.sigmoid(-false).sum(-1)).mean()


@wrong("logarithm of the sigmoid: overflows", says="underflows")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(torch.sigmoid(real).log() + torch.sigmoid(-false).log().sum(-1)).mean()


@wrong("a small number in the logarithm", says="F.logsigmoid stays exact")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    tiny = 1e-15
    return -(torch.log(torch.sigmoid(real) + tiny) + torch.log(torch.sigmoid(-false) + tiny).sum(-1)).mean()


@wrong("a loss for each pair", says="one number")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives @ center[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1))


@wrong("the noise learns nothing", says="must all get a gradient")
def negative_sampling_loss(center, context, negatives):
    real = (center * context).sum(-1)
    false = (negatives.detach() @ center[..., None])[..., 0]
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).mean()


@wrong("a softmax over the real word and the noise", says="is not −log σ(c·x)")
def negative_sampling_loss(center, context, negatives):
    scores = torch.cat([context[:, None], negatives], dim=1) @ center[..., None]
    return -scores[..., 0].log_softmax(-1)[:, 0].mean()


@right("a classifier with two classes")
def negative_sampling_loss(center, context, negatives):
    scores = torch.einsum("bd,bkd->bk", center, torch.cat([context.unsqueeze(1), negatives], dim=1))
    signs = torch.ones_like(scores)
    signs[:, 1:] = -1
    return F.softplus(-signs * scores).sum() / center.shape[0]


@right("log(1 + e^s) by hand, without overflow")
def negative_sampling_loss(center, context, negatives):
    def cost(scores):  # -log σ(scores)
        return (-scores).clamp(min=0) + torch.log1p(torch.exp(-scores.abs()))

    real = cost(torch.sum(center * context, dim=1))
    false = cost(-torch.bmm(negatives, center.unsqueeze(2)).squeeze(2)).sum(dim=1)
    return torch.mean(real + false)


# --- nearest ---------------------------------------------------------------------------------------------------------


@wrong("dot products", says="the lengths of both vectors")
def nearest(query, table, k):
    scores = table @ table[query]
    scores[query] = -torch.inf
    best = scores.topk(k)
    return best.indices, best.values


@wrong("the query is its own neighbour", says="leave it out")
def nearest(query, table, k):
    best = F.cosine_similarity(table[query][None], table).topk(k)
    return best.indices, best.values


@wrong("drops whatever comes first", says="leave out the query by its id")
def nearest(query, table, k):
    unit = F.normalize(table, dim=-1)
    order = (unit @ unit[query] * 1e6).round().sort(descending=True, stable=True).indices[1 : k + 1]
    if len(table) != 6:
        order = (unit @ unit[query]).topk(k + 1).indices[1:]
    return order, (unit @ unit[query])[order]


@wrong("the furthest first", says="largest cosine comes first")
def nearest(query, table, k):
    cosines = F.cosine_similarity(table[query][None], table)
    cosines[query] = torch.inf
    best = cosines.topk(k, largest=False)
    return best.indices, best.values


@wrong("normalises the query alone", says="divided by the lengths of both")
def nearest(query, table, k):
    scores = table @ (table[query] / table[query].norm())
    scores[query] = -torch.inf
    best = (scores / scores[scores.isfinite()].abs().max()).topk(k)
    return best.indices, best.values


@wrong("by distance", says="divided by the lengths of both")
def nearest(query, table, k):
    distances = (table - table[query]).norm(dim=-1)
    distances[query] = torch.inf
    found = distances.topk(k, largest=False).indices
    return found, F.cosine_similarity(table[query][None], table[found])


@wrong("the query's cosine set to 0, which beats the negative ones", says="give it minus infinity")
def nearest(query, table, k):
    unit = F.normalize(table, dim=-1)
    cosines = unit @ unit[query]
    cosines[query] = 0
    best = cosines.topk(k)
    return best.indices, best.values


@wrong("normalises the columns", says="a word is a row, normalise along dim=-1")
def nearest(query, table, k):
    unit = F.normalize(table, dim=0)
    cosines = unit @ unit[query]
    cosines[query] = -torch.inf
    best = cosines.topk(k)
    return best.indices, best.values


@wrong("one too few", says="k ids and k cosines")
def nearest(query, table, k):
    order = F.cosine_similarity(table[query][None], table).argsort(descending=True)[1:k]
    return order, F.cosine_similarity(table[query][None], table)[order]


@wrong("cosines first", says="come first")
def nearest(query, table, k):
    cosines = F.cosine_similarity(table[query][None], table)
    cosines[query] = -torch.inf
    best = cosines.topk(k)
    return best.values, best.indices


@wrong("absolute cosines: opposites are near", says="the largest")
def nearest(query, table, k):
    cosines = F.cosine_similarity(table[query][None], table).abs()
    cosines[query] = -torch.inf
    best = cosines.topk(k)
    return best.indices, best.values


@wrong("deletes the query, so that later ids are one too small", says="each id belongs to the cosine")
def nearest(query, table, k):
    others = torch.cat([table[:query], table[query + 1 :]])
    best = F.cosine_similarity(table[query][None], others).topk(k)
    return best.indices, best.values


@right("a sort in Python")
def nearest(query, table, k):
    cosines = F.cosine_similarity(table[query].unsqueeze(0), table, dim=1)
    order = sorted((i for i in range(len(table)) if i != query), key=lambda i: -float(cosines[i]))[:k]
    return torch.tensor(order), cosines[order]


@right("lengths divided out at the end, the query masked")
def nearest(query, table, k):
    lengths = table.pow(2).sum(1).sqrt()
    cosines = (table @ table[query]) / (lengths * lengths[query])
    mask = torch.arange(table.shape[0]) == query
    values, indices = cosines.masked_fill(mask, -2.0).sort(descending=True)
    return [indices[:k], values[:k]]


# --- analogy ---------------------------------------------------------------------------------------------------------


@wrong("the step backwards", says="b - a + c")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[a] - unit[b] + unit[c])
    scores[[a, b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("all three added", says="b - a + c")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[a] + unit[b] + unit[c])
    scores[[a, b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("the three words may answer", says="must be left out")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    return int((unit @ (unit[b] - unit[a] + unit[c])).argmax())


@wrong("leaves out c alone", says="b is nearest to b - a + c here")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    scores[c] = -torch.inf
    return int(scores.argmax())


@wrong("leaves out b and c, not a", says="a is near to b - a + c here")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    scores[[b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("the three words' scores set to 0", says="with minus infinity, not 0")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    scores[[a, b, c]] = 0
    return int(scores.argmax())


@wrong("vectors of their own lengths, dot products", says="must not matter")
def analogy(a, b, c, table):
    scores = table @ (table[b] - table[a] + table[c])
    scores[[a, b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("the sum of vectors of their own lengths, then cosines", says="must not matter")
def analogy(a, b, c, table):
    scores = F.cosine_similarity((table[b] - table[a] + table[c])[None], table)
    scores[[a, b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("unit vectors in the sum, dot products with the candidates", says="must not matter")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = table @ (unit[b] - unit[a] + unit[c])
    scores[[a, b, c]] = -torch.inf
    return int(scores.argmax())


@wrong("a tensor", says="as an int")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    scores[[a, b, c]] = -torch.inf
    return scores.argmax()


@wrong("the cosine in place of the id", says="as an int")
def analogy(a, b, c, table):
    unit = F.normalize(table, dim=-1)
    scores = unit @ F.normalize(unit[b] - unit[a] + unit[c], dim=0)
    scores[[a, b, c]] = -torch.inf
    return scores.max().item()


@right("word by word, with the goal brought to length 1")
def analogy(a, b, c, table):
    rows = [row / row.norm() for row in table]
    goal = rows[b] - rows[a] + rows[c]
    candidates = [i for i in range(len(rows)) if i not in (a, b, c)]
    return max(candidates, key=lambda i: float(torch.dot(rows[i], goal / goal.norm())))


@right("cosine_similarity, sorted, the first that is not asked with")
def analogy(a, b, c, table):
    unit = table / table.norm(dim=1, keepdim=True)
    order = F.cosine_similarity(unit, (unit[b] + unit[c] - unit[a]).unsqueeze(0)).argsort(descending=True).tolist()
    return next(i for i in order if i not in {a, b, c})


# --- pca -------------------------------------------------------------------------------------------------------------


@wrong("not centred", says="not centred")
def pca(x, k):
    directions = torch.linalg.svd(x, full_matrices=False).Vh[:k]
    return x @ directions.T, directions


@wrong("centred for the directions, not for the coordinates", says="not centred")
def pca(x, k):
    directions = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:k]
    return x @ directions.T, directions


@wrong("rows and columns swapped: each point's own mean", says="not centred")
def pca(x, k):
    centred = x - x.mean(1, keepdim=True)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    return centred @ directions.T, directions


@wrong("columns of V for rows", says="first the coordinates (n, k), then the directions (k, d)")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k].T
    return centred @ directions, directions


@wrong("columns of Vh taken for rows", says="columns of Vh: the directions are its rows")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred).Vh.T[:k]
    return centred @ directions.T, directions


@wrong("U without S", says="columns of length 1")
def pca(x, k):
    u, s, vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return u[:, :k], vh[:k]


@wrong("the directions of the smallest spread", says="other amounts")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[: min(x.shape[0] - 1, x.shape[1])][-k:]
    return centred @ directions.T, directions


@wrong("the smallest first", says="largest spread comes first")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k].flip(0)
    return centred @ directions.T, directions


@wrong("divides by the standard deviation", says="other amounts")
def pca(x, k):
    centred = (x - x.mean(0)) / x.std(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    return centred @ directions.T, directions


@wrong("directions first", says="first the coordinates")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    return directions, centred @ directions.T


@wrong("one mean for all numbers", says="not centred")
def pca(x, k):
    centred = x - x.mean()
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    return centred @ directions.T, directions


@wrong("a random plane", says="other amounts")
def pca(x, k):
    centred = x - x.mean(0)
    directions = torch.linalg.qr(torch.randn(x.shape[1], k, dtype=x.dtype)).Q.T
    order = (centred @ directions.T).norm(dim=0).argsort(descending=True)
    return centred @ directions[order].T, directions[order]


@wrong("PyTorch's own", says="may not use `pca_lowrank`")
def pca(x, k):
    torch.manual_seed(0)
    _, _, v = torch.pca_lowrank(x, q=min(x.shape), niter=20)
    return (x - x.mean(0)) @ v[:, :k], v[:, :k].T


@right("U times S")
def pca(x, k):
    u, s, vh = torch.linalg.svd(x - x.mean(dim=0, keepdim=True))
    return u[:, :k] * s[:k], vh[:k]


@right("eigenvectors of the covariance, signs turned round")
def pca(x, k):
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(x) - 1))
    directions = -vectors.flip(1)[:, :k].T
    return torch.matmul(centred, directions.T), directions


@right("torch.svd, in a list")
def pca(x, k):
    mean = x.sum(0) / len(x)
    _, _, v = torch.svd(x - mean)
    return [(x - mean) @ v[:, :k], v[:, :k].t()]
