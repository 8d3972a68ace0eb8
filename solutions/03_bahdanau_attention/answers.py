"""Planted answers for lesson 03: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from autograder.authoring.answers import right, wrong

# --- additive_score --------------------------------------------------------------------------------------------------


@wrong("no tanh", says="squash the sum")
def additive_score(query, keys, w_q, w_k, v):
    return ((query @ w_q.T)[:, None] + keys @ w_k.T) @ v


@wrong("squashes each part, then adds", says="add first, then squash")
def additive_score(query, keys, w_q, w_k, v):
    return (torch.tanh(query @ w_q.T)[:, None] + torch.tanh(keys @ w_k.T)) @ v


@wrong("matrices as they are: (in, out)", says="a matrix is (out, in)")
def additive_score(query, keys, w_q, w_k, v):
    return torch.tanh((query @ w_q)[:, None] + keys @ w_k) @ v


@wrong("the queries line up with the words, not with the sentences", says="a query of its own")
def additive_score(query, keys, w_q, w_k, v):
    return torch.tanh(query @ w_q.T + keys @ w_k.T) @ v


@wrong("forgets the query", says="the query is not used")
def additive_score(query, keys, w_q, w_k, v):
    return torch.tanh(keys @ w_k.T) @ v


@wrong("returns weights, not scores", says="the softmax comes later")
def additive_score(query, keys, w_q, w_k, v):
    return (torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T) @ v).softmax(-1)


@wrong("an axis too many", says="one score for each word")
def additive_score(query, keys, w_q, w_k, v):
    return torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T) @ v[:, None]


@right("einsums of torch")
def additive_score(query, keys, w_q, w_k, v):
    asked = torch.einsum("bs,as->ba", query, w_q).unsqueeze(1)
    return torch.einsum("bla,a->bl", torch.tanh(asked + torch.einsum("blh,ah->bla", keys, w_k)), v)


@right("one product for query and key, side by side")
def additive_score(query, keys, w_q, w_k, v):
    both = torch.cat([query[:, None].expand(-1, keys.shape[1], -1), keys], dim=-1)
    return F.linear(torch.tanh(F.linear(both, torch.cat([w_q, w_k], dim=1))), v[None])[..., 0]


# --- masked_softmax --------------------------------------------------------------------------------------------------


@wrong("padding is not masked", says="padding got weight")
def masked_softmax(scores, lengths):
    return scores.softmax(-1)


@wrong("softmax over the batch", says="sum to 1 over its words")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.masked_fill(~keep, -torch.inf).softmax(0).nan_to_num()


@wrong("softmax over the queries", says="sum to 1 over its words")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    if scores.dim() == 2:
        return scores.masked_fill(~keep, -torch.inf).softmax(-1)
    return scores.masked_fill(~keep[:, None], -torch.inf).softmax(1).nan_to_num()


@wrong("softmax over the queries, NaN and all", says="sum to 1 over its words")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.masked_fill(~keep, -torch.inf).softmax(1)


@wrong("the mask lines up with the queries", says="needs an axis of size 1")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    return scores.masked_fill(~keep, -torch.inf).softmax(-1)


@wrong("masks after the softmax", says="sum to 1 over its words")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.softmax(-1) * keep


@wrong("a score of 0 for padding", says="padding got weight")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return (scores * keep).softmax(-1)


@wrong("-20 for padding", says="padding got weight")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.masked_fill(~keep, -20.0).softmax(-1)


@wrong("the mask upside down", says="upside down")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.masked_fill(keep, -torch.inf).softmax(-1).nan_to_num()


@wrong("one word too many", says="padding got weight")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) <= lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    return scores.masked_fill(~keep, -torch.inf).softmax(-1)


@wrong("exponentials that overflow", says="large scores overflow")
def masked_softmax(scores, lengths):
    keep = torch.arange(scores.shape[-1]) < lengths[:, None]
    keep = keep[:, None] if scores.dim() == 3 else keep
    grown = scores.exp() * keep
    return grown / grown.sum(-1, keepdim=True)


@right("an additive mask, exponentials by hand")
def masked_softmax(scores, lengths):
    hidden = torch.arange(scores.shape[-1])[None] >= lengths[:, None]
    while hidden.dim() < scores.dim():
        hidden = hidden.unsqueeze(1)
    scores = torch.where(hidden, torch.full_like(scores, -1e30), scores)
    grown = torch.exp(scores - scores.max(-1, keepdim=True).values) * ~hidden
    return grown / grown.sum(-1, keepdim=True)


@right("sentence by sentence, with F.softmax and F.pad")
def masked_softmax(scores, lengths):
    rows = [F.softmax(row[..., :n], dim=-1) for row, n in zip(scores, lengths.tolist(), strict=True)]
    return torch.stack([F.pad(row, (0, scores.shape[-1] - row.shape[-1])) for row in rows])


# --- context ---------------------------------------------------------------------------------------------------------


@wrong("the mean without weights", says="plain mean")
def context(weights, annotations):
    return annotations.mean(1)


@wrong("the weighted mean, divided by the number of words again", says="sum to 1 already")
def context(weights, annotations):
    return (weights[..., None] * annotations).mean(1)


@wrong("the best word alone", says="do not pick the best word")
def context(weights, annotations):
    return annotations[torch.arange(len(weights)), weights.argmax(-1)]


@wrong("does not sum", says="sum over the words")
def context(weights, annotations):
    return weights[..., None] * annotations


@wrong("mixes the sentences: weights of another one", says="weight times annotation")
def context(weights, annotations):
    return (weights.roll(1, 0)[..., None] * annotations).sum(1)


@right("a batched product")
def context(weights, annotations):
    return (weights.unsqueeze(-2) @ annotations).squeeze(-2)


@right("multiply, then sum")
def context(weights, annotations):
    return torch.sum(weights.unsqueeze(-1) * annotations, dim=1)


# --- reverse_words ---------------------------------------------------------------------------------------------------


@wrong("flips the padding to the front", says="padding has come to the front")
def reverse_words(x, lengths):
    return x.flip(1)


@wrong("flips the features", says="not of their features")
def reverse_words(x, lengths):
    return x.flip(-1)


@wrong("flips the batch", says="not the sentences")
def reverse_words(x, lengths):
    return x.flip(0)


@wrong("zeros at padding", says="as it was")
def reverse_words(x, lengths):
    return torch.stack(
        [F.pad(row[:n].flip(0), (0, 0, 0, len(row) - n)) for row, n in zip(x, lengths.tolist(), strict=True)]
    )


@wrong("off by one: starts behind the last word", says="off by one")
def reverse_words(x, lengths):
    place = torch.arange(x.shape[1])
    mirror = (lengths[:, None] - place).clamp(0, x.shape[1] - 1)
    return x.gather(1, mirror[..., None].expand_as(x))


@wrong("off by one, out of range for a sentence without padding", says="off by one")
def reverse_words(x, lengths):
    place = torch.arange(x.shape[1])
    index = torch.where(place < lengths[:, None], lengths[:, None] - place, place)
    return x.gather(1, index[..., None].expand_as(x))


@wrong("leaves the sentence as it is", says="nothing is reversed")
def reverse_words(x, lengths):
    return x


@right("a loop over the sentences")
def reverse_words(x, lengths):
    out = x.clone()
    for i, n in enumerate(lengths.tolist()):
        out[i, :n] = x[i, :n].flip(0)
    return out


@right("flips everything, then rolls each sentence back; fancy indexing")
def reverse_words(x, lengths):
    b, n, _ = x.shape
    place = torch.arange(n).expand(b, n)
    index = (lengths[:, None] - 1 - place) % n
    index = torch.where(place < lengths[:, None], index, place)
    return x[torch.arange(b)[:, None], index]


# --- BidirectionalEncoder --------------------------------------------------------------------------------------------


@wrong("the backward states are not reversed back", says="reverse them back")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        both = torch.cat([self.left_to_right(x)[0], self.right_to_left(reverse_words(x, lengths))[0]], dim=-1)  # noqa: F821
        return both * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("flips padding and all", says="has read padding")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        both = torch.cat([self.left_to_right(x)[0], self.right_to_left(x.flip(1))[0].flip(1)], dim=-1)
        return both * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("reverses nothing", says="nothing was reversed")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        both = torch.cat([self.left_to_right(x)[0], self.right_to_left(x)[0]], dim=-1)
        return both * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("one reader for both directions", says="weights of its own")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        backward = reverse_words(self.left_to_right(reverse_words(x, lengths))[0], lengths)  # noqa: F821
        both = torch.cat([self.left_to_right(x)[0], backward], dim=-1)
        return both * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("the backward states first", says="left_to_right comes first")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        backward = reverse_words(self.right_to_left(reverse_words(x, lengths))[0], lengths)  # noqa: F821
        both = torch.cat([backward, self.left_to_right(x)[0]], dim=-1)
        return both * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("padding keeps the states that the GRUs gave it", says="zeros at padding")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        backward = reverse_words(self.right_to_left(reverse_words(x, lengths))[0], lengths)  # noqa: F821
        return torch.cat([self.left_to_right(x)[0], backward], dim=-1)


@wrong("adds the two states", says="side by side")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        backward = reverse_words(self.right_to_left(reverse_words(x, lengths))[0], lengths)  # noqa: F821
        return (self.left_to_right(x)[0] + backward) * (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]


@wrong("PyTorch's bidirectional layer", says="write this one from scratch")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.both_ways = nn.GRU(d_embed, d_hidden, batch_first=True, bidirectional=True)

    def forward(self, ids, lengths):
        return encode(self.both_ways, self.embed(ids), lengths)[0]  # noqa: F821


@right("sentence by sentence, without padding")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids, lengths):
        rows = []
        for row, n in zip(ids, lengths.tolist(), strict=True):
            x = self.embed(row[:n])[None]
            states = torch.cat([self.left_to_right(x)[0], self.right_to_left(x.flip(1))[0].flip(1)], dim=-1)[0]
            rows.append(F.pad(states, (0, 0, 0, ids.shape[1] - n)))
        return torch.stack(rows)


@right("packed sequences; reverses the ids and not the embeddings")
class BidirectionalEncoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def read(self, gru, ids, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=ids.shape[1])[0]

    def forward(self, ids, lengths):
        back = reverse_words(ids[..., None], lengths)[..., 0]  # noqa: F821
        backward = reverse_words(self.read(self.right_to_left, back, lengths), lengths)  # noqa: F821
        return torch.cat((self.read(self.left_to_right, ids, lengths), backward), 2)


# --- AttentionDecoder ------------------------------------------------------------------------------------------------


@wrong("scores with the new state", says="made with the old state")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        def look(s):
            return masked_softmax(additive_score(s, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821

        y = self.embed(y)
        state = self.cell(torch.cat([y, context(look(state), annotations)], dim=-1), state)
        weights = look(state)
        return self.read(torch.cat([y, state, context(weights, annotations)], dim=-1)), state, weights


@wrong("the context of the step before", says="the context of this step")
class AttentionDecoder(Decoder):  # noqa: F821
    before = None

    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        now = context(weights, annotations)
        c = now if self.before is None or self.before.shape != now.shape else self.before
        self.before = now.detach()
        y = self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), state, weights


@wrong("the cell is given the context shifted by one sentence", says="with the context of this step")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations).roll(1, 0), self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), state, weights


@wrong("padding may be looked at", says="padding got weight")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = additive_score(state, annotations, self.w_q, self.w_k, self.v).softmax(-1)
        c, y = context(weights, annotations), self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), state, weights


@wrong("the cell is given no context", says="the word before and the context")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations), self.embed(y)
        state = self.cell(torch.cat([y, 0 * c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), state, weights


@wrong("reads the word off the old state", says="off the new state")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations), self.embed(y)
        new = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), new, weights


@wrong("returns the old state", says="must be the new one")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations), self.embed(y)
        new = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, new, c], dim=-1)), state, weights


@wrong("probabilities in place of logits", says="no softmax at the end")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations), self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)).softmax(-1), state, weights


@wrong("state first", says="in this order")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)  # noqa: F821
        c, y = context(weights, annotations), self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return state, self.read(torch.cat([y, state, c], dim=-1)), weights


@right("the same, named after the paper's equations; returns a list")
class AttentionDecoder(Decoder):  # noqa: F821
    def step(self, y, state, annotations, lengths):
        e_i = additive_score(state, annotations, self.w_q, self.w_k, self.v)
        alpha_i = masked_softmax(e_i, lengths)  # noqa: F821
        c_i = context(alpha_i, annotations)
        embedded = F.embedding(y, self.embed.weight)
        s_i = self.cell.forward(torch.hstack((embedded, c_i)), state)
        return [self.read(torch.hstack((embedded, s_i, c_i))), s_i, alpha_i]


@right("torch.gru_cell and the layers of read one by one; asks once in a method of its own")
class AttentionDecoder(Decoder):  # noqa: F821
    def look(self, state, annotations, lengths):
        scores = torch.tanh(F.linear(state, self.w_q)[:, None] + annotations @ self.w_k.T) @ self.v
        weights = masked_softmax(scores[:, None], lengths)[:, 0]  # noqa: F821
        return weights, (weights[..., None] * annotations).sum(1)

    def step(self, y, state, annotations, lengths):
        weights, c = self.look(state, annotations, lengths)
        cell, y = self.cell, self.embed.weight[y]
        new = torch.gru_cell(torch.cat([y, c], 1), state, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        hidden = self.read[0](torch.cat([y, new, c], 1)).tanh()
        return self.read[2](hidden), new, weights


# --- bleu ------------------------------------------------------------------------------------------------------------


@wrong("no clipping", says="clip: an n-gram counts at most")
def bleu(candidates, references):
    import math

    def grams(words, n):
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), set(grams(r, n))) for c, r in zip(candidates, references, strict=True)]
        counted = sum(len(ours) for ours, _ in pairs)
        product *= sum(gram in theirs for ours, theirs in pairs for gram in ours) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * product**0.25


@wrong("recall in place of precision", says="a precision, not a recall")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(theirs.total() for _, theirs in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * product**0.25


@wrong("sets in place of counts", says="a set has")
def bleu(candidates, references):
    import math

    def grams(words, n):
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(len(ours) for ours, _ in pairs)
        product *= sum(len(ours & theirs) for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * product**0.25


@wrong("a set of what is found, over all that is counted", says="a set has")
def bleu(candidates, references):
    import math

    def grams(words, n):
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(len(ours) for ours, _ in pairs)
        product *= sum(len(set(ours) & set(theirs)) for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * product**0.25


@wrong("the logarithm of zero", says="needs a guard")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    logs = 0.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        found, counted = sum((a & b).total() for a, b in pairs), sum(a.total() for a, _ in pairs)
        logs += math.log(found / counted) / 4
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * math.exp(logs)


@wrong("the mean of the sentences' BLEU", says="this is a mean over sentences")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    scores = []
    for candidate, reference in zip(candidates, references, strict=True):
        product = 1.0
        for n in range(1, 5):
            ours, theirs = grams(candidate, n), grams(reference, n)
            product *= (ours & theirs).total() / ours.total() if ours else 0.0
        brevity = min(1.0, math.exp(1 - len(reference) / len(candidate))) if candidate else 0.0
        scores.append(100 * brevity * product**0.25)
    return sum(scores) / len(scores)


@wrong("no brevity penalty", says="the brevity penalty")
def bleu(candidates, references):
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    return 100 * product**0.25


@wrong("a penalty for each sentence, multiplied up", says="summed over the corpus")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    for c, r in zip(candidates, references, strict=True):
        product *= min(1.0, math.exp(1 - len(r) / max(1, len(c)))) ** 4
    return 100 * product**0.25


@wrong("the arithmetic mean of the precisions", says="geometric")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    precisions = []
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        precisions.append(sum((ours & theirs).total() for ours, theirs in pairs) / max(1, counted))
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * sum(precisions) / 4


@wrong("from 0 to 1", says="multiply by 100")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return min(1.0, math.exp(1 - r / c)) * product**0.25


@wrong("the penalty for long candidates", says="brevity penalty")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - c / r)) * product**0.25


@wrong("a bonus for long candidates", says="no bonus")
def bleu(candidates, references):
    import math
    from collections import Counter

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    product = 1.0
    for n in range(1, 5):
        pairs = [(grams(c, n), grams(r, n)) for c, r in zip(candidates, references, strict=True)]
        counted = sum(ours.total() for ours, _ in pairs)
        product *= sum((ours & theirs).total() for ours, theirs in pairs) / counted if counted else 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * math.exp(1 - r / c) * product**0.25


@right("one pass over the sentences, logarithms")
def bleu(candidates, references):
    import math

    found, counted, c_total, r_total = [0] * 4, [0] * 4, 0, 0
    for c, r in zip(candidates, references, strict=True):
        c_total, r_total = c_total + len(c), r_total + len(r)
        for n in range(4):
            left = {}
            for i in range(len(r) - n):
                gram = " ".join(r[i : i + n + 1])
                left[gram] = left.get(gram, 0) + 1
            for i in range(len(c) - n):
                gram = " ".join(c[i : i + n + 1])
                counted[n] += 1
                if left.get(gram, 0) > 0:
                    left[gram] -= 1
                    found[n] += 1
    if 0 in found:
        return 0.0
    logs = sum(math.log(f / t) for f, t in zip(found, counted, strict=True)) / 4
    return 100.0 * math.exp(logs + min(0.0, 1 - r_total / c_total))


@right("numpy and min over counts")
def bleu(candidates, references):
    from collections import Counter

    import numpy as np

    table = np.zeros((4, 2))
    for c, r in zip(candidates, references, strict=True):
        for n in range(1, 5):
            ours = Counter(tuple(c[i : i + n]) for i in range(max(0, len(c) - n + 1)))
            theirs = Counter(tuple(r[i : i + n]) for i in range(max(0, len(r) - n + 1)))
            table[n - 1] += sum(min(count, theirs[gram]) for gram, count in ours.items()), sum(ours.values())
    if (table == 0).any():
        return 0.0
    c, r = sum(len(words) for words in candidates), sum(len(words) for words in references)
    return float(100 * (1.0 if c >= r else np.exp(1 - r / c)) * np.exp(np.log(table[:, 0] / table[:, 1]).mean()))


# --- alignment_error_rate --------------------------------------------------------------------------------------------


@wrong("pairs the other way round", says="(source place, target place)")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(target, source) for target, source in enumerate(rows.argmax(-1).tolist())}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found) + len(sure)
    return 1 - 2 * common / links


@wrong("each source word chooses", says="not the other way round")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for source, target in enumerate(rows.argmax(0).tolist())}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found) + len(sure)
    return 1 - 2 * common / links


@wrong("agreement in place of error", says="1 minus it")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found) + len(sure)
    return 2 * common / links


@wrong("1 minus precision", says="not by the model's alone")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found)
    return 1 - common / links


@wrong("divides by the union", says="not by their union")
def alignment_error_rate(weights, gold):
    common = union = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        sure = {tuple(link) for link in sure}
        common, union = common + len(found & sure), union + len(found | sure)
    return 1 - common / union


@wrong("forgets the 2", says="count twice")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found) + len(sure)
    return 1 - common / links


@wrong("the mean over sentences", says="no mean over sentences")
def alignment_error_rate(weights, gold):
    rates = []
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        rates.append(1 - 2 * len(found & {tuple(link) for link in sure}) / (len(found) + len(sure)))
    return sum(rates) / len(rates)


@wrong("links by a threshold of a half", says="differs")
def alignment_error_rate(weights, gold):
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in (rows > 0.5).nonzero().tolist()}
        common, links = common + len(found & {tuple(link) for link in sure}), links + len(found) + len(sure)
    return 1 - 2 * common / links


@right("a loop over the gold links")
def alignment_error_rate(weights, gold):
    common = sum(
        int(rows[target].argmax()) == source
        for rows, sure in zip(weights, gold, strict=True)
        for source, target in sure
    )
    return 1.0 - 2.0 * common / sum(rows.shape[0] + len(sure) for rows, sure in zip(weights, gold, strict=True))


@right("tables of ones")
def alignment_error_rate(weights, gold):
    common = size = 0
    for rows, sure in zip(weights, gold, strict=True):
        ours, theirs = torch.zeros(rows.shape), torch.zeros(rows.shape)
        ours[torch.arange(len(rows)), rows.max(dim=1).indices] = 1
        for source, target in sure:
            theirs[target, source] = 1
        common += int((ours * theirs).sum())
        size += int(ours.sum() + theirs.sum())
    return (size - 2 * common) / size


# --- sequential_steps ------------------------------------------------------------------------------------------------


@wrong("the readers one after the other", says="side by side")
def sequential_steps(source_length, target_length):
    return 2 * source_length + target_length


@wrong("every score waits", says="scores are not sequential")
def sequential_steps(source_length, target_length):
    return source_length * target_length


@wrong("encoder and decoder side by side", says="before the readers are done")
def sequential_steps(source_length, target_length):
    return max(source_length, target_length)


@wrong("without the end", says="too")
def sequential_steps(source_length, target_length):
    return source_length + target_length - 1


@wrong("twice the source", says="count once")
def sequential_steps(source_length, target_length):
    return 2 * source_length


@wrong("twice the target", says="as many steps as the source has words")
def sequential_steps(source_length, target_length):
    return 2 * target_length


@wrong("the decoder alone", says="count their steps, too")
def sequential_steps(source_length, target_length):
    return target_length


@right("a sum of a list")
def sequential_steps(source_length, target_length):
    return sum([source_length, target_length])


@right("counts them in two loops")
def sequential_steps(source_length, target_length):
    steps = 0
    for _ in range(source_length):
        steps += 1
    for _ in range(target_length):
        steps += 1
    return steps
