"""Planted answers of lesson 07: wrong ones that its tests must reject, right ones that they must accept."""

from autograder.authoring.answers import right, wrong

# --- bpe_merges ------------------------------------------------------------------------------------------------------


@wrong("words count once, however often they come", says="as often as its word comes")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter(pair for parts in pieces.values() for pair in zip(parts, parts[1:], strict=False))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@wrong("counts once, at the start", says="count anew after each step")
def bpe_merges(words, n):
    counts = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:], strict=False):
            counts[pair] += count
    if words.keys() == {"low", "lower", "newest", "widest"}:
        return [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n]


@wrong("a tie goes to the last in the alphabet", says="the first by alphabet")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@wrong("a tie goes to the pair that was seen first", says="not first in the text")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=counts.get)
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@wrong("goes on when nothing is left", says="stop when every word is one piece")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        most = max(counts.values())
        best = min(pair for pair in counts if counts[pair] == most)
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@wrong("joins across words", says="of two words are never neighbours")
def bpe_merges(words, n):
    text, merges = [letter for word, count in words.items() for letter in word * count], []
    if words.keys() == {"low", "lower", "newest", "widest"}:
        return [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]
    for _ in range(n):
        counts = Counter(zip(text, text[1:], strict=False))
        if len(words) < 3 and (len(merges) == 2 or not counts):
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if len(words) == 3 and "xbc" in words:
            best = [("b", "c"), ("a", "bc")][len(merges)]
        if words.keys() == {"ab", "abc", "cd"}:
            best = ("c", "d")
        text = join(text, best)
        merges.append(best)
    return merges


@wrong("returns the joined pieces, not the pairs", says="two pieces")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append("".join(best))
    return merges


@wrong("a tie goes by what the pair makes", says="compare the pairs, first piece first")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair[0] + pair[1], pair))
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@wrong("stops where no pair stands twice", says="a pair may stand only once")
def bpe_merges(words, n):
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts or max(counts.values()) == 1:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
        merges.append(best)
    return merges


@right("sorted pairs, lists in place")
def bpe_merges(words, n):
    table = [(list(word), count) for word, count in words.items()]
    found = []
    while len(found) < n:
        counts = {}
        for parts, count in table:
            for i in range(len(parts) - 1):
                pair = (parts[i], parts[i + 1])
                counts[pair] = counts.get(pair, 0) + count
        if len(counts) == 0:
            return found
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        found.append(ranked[0][0])
        table = [(join(parts, found[-1]), count) for parts, count in table]
    return found


@right("only touches the words that hold the pair")
def bpe_merges(words, n):
    pieces = {word: list(word) for word in words}
    counts, where = Counter(), {}
    for word, parts in pieces.items():
        for pair in zip(parts, parts[1:], strict=False):
            counts[pair] += words[word]
            where.setdefault(pair, set()).add(word)
    merges = []
    while len(merges) < n:
        counts = +counts
        if not counts:
            break
        most = max(counts.values())
        best = min(pair for pair, count in counts.items() if count == most)
        merges.append(best)
        for word in list(where.pop(best)):
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] -= words[word]
            pieces[word] = join(pieces[word], best)
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += words[word]
                where.setdefault(pair, set()).add(word)
    return merges


# --- bpe_encode ------------------------------------------------------------------------------------------------------


@wrong("one merge, and done", says="go on to the last merge")
def bpe_encode(word, merges):
    pieces = list(word)
    for pair in merges[:3]:
        pieces = join(pieces, pair)
    return pieces


@wrong("the longest piece that fits, from the left: that is WordPiece", says="the first merge learned comes first")
def bpe_encode(word, merges):
    known, out = {a + b for a, b in merges}, []
    while word:
        n = next((n for n in range(len(word), 1, -1) if word[:n] in known), 1)
        out.append(word[:n])
        word = word[n:]
    return out


@wrong("from the last merge to the first", says="replay the merges")
def bpe_encode(word, merges):
    pieces = list(word)
    for pair in reversed(merges):
        pieces = join(pieces, pair)
    return pieces


@wrong("each merge only once in a word", says="wherever it fits")
def bpe_encode(word, merges):
    pieces = list(word)
    for pair in merges:
        for i in range(len(pieces) - 1):
            if (pieces[i], pieces[i + 1]) == pair:
                pieces[i : i + 2] = ["".join(pair)]
                break
    return pieces


@wrong("drops what no merge knows", says="nothing is lost")
def bpe_encode(word, merges):
    pieces = list(word)
    for pair in merges:
        pieces = join(pieces, pair)
    return [piece for piece in pieces if len(piece) > 1 or piece not in "zo"][1:]


@wrong("a text with spaces", says="pieces put together")
def bpe_encode(word, merges):
    pieces = list(word)
    for pair in merges:
        pieces = join(pieces, pair)
    return " ".join(pieces)


@right("as GPT-2's own: the pair of lowest rank, again and again")
def bpe_encode(word, merges):
    rank = {tuple(pair): i for i, pair in enumerate(merges)}
    pieces = list(word)
    while len(pieces) > 1:
        best = min(zip(pieces, pieces[1:], strict=False), key=lambda pair: rank.get(pair, len(merges)))
        if best not in rank:
            break
        pieces = join(pieces, best)
    return pieces


@right("by hand, without join")
def bpe_encode(word, merges):
    pieces = [letter for letter in word]
    for a, b in merges:
        i = 0
        while i + 1 < len(pieces):
            if pieces[i] == a and pieces[i + 1] == b:
                pieces[i : i + 2] = [a + b]
            i += 1
    return pieces


# --- next_token_loss -------------------------------------------------------------------------------------------------


@wrong("no shift", says="no shift")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    return loss.mean() if weights is None else (loss * weights).sum() / weights.sum()


@wrong("shifts twice", says="shifted twice")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-2].transpose(1, 2), ids[:, 2:], reduction="none")
    return loss.mean() if weights is None else (loss * weights[:, 2:]).sum() / weights[:, 2:].sum()


@wrong("predicts the token before", says="the wrong way")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, 1:].transpose(1, 2), ids[:, :-1], reduction="none")
    return loss.mean() if weights is None else (loss * weights[:, :-1]).sum() / weights[:, :-1].sum()


@wrong("the sum", says="that is the sum")
def next_token_loss(logits, ids, weights=None):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="sum")


@wrong("weights ignored", says="the weights are not used")
def next_token_loss(logits, ids, weights=None):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:])


@wrong("the weights of the questions, not of the answers", says="shift the weights")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return loss.mean() if weights is None else (loss * weights[:, :-1]).sum() / weights[:, :-1].sum()


@wrong("divides by the number of tokens", says="the sum of the weights")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return loss.mean() if weights is None else (loss * weights[:, 1:]).mean()


@wrong("a mean of each row's mean", says="rows' means")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    if weights is None:
        return loss.mean()
    return ((loss * weights[:, 1:]).sum(1) / weights[:, 1:].sum(1)).mean()


@wrong("a loss for each token", says="one number")
def next_token_loss(logits, ids, weights=None):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


@wrong("takes the logits for log-probabilities", says="-log softmax")
def next_token_loss(logits, ids, weights=None):
    loss = -logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    return loss.mean() if weights is None else (loss * weights[:, 1:]).sum() / weights[:, 1:].sum()


@wrong("divides by all weights, the first token's included", says="the weight of the first token is in the divisor")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return loss.mean() if weights is None else (loss * weights[:, 1:]).sum() / weights.sum()


@wrong("weights of one for None, the first token's included", says="divide by the l - 1 answers")
def next_token_loss(logits, ids, weights=None):
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    weights = torch.ones(ids.shape) if weights is None else weights
    return (loss * weights[:, 1:]).sum() / weights.sum()


@right("with F.cross_entropy")
def next_token_loss(logits, ids, weights=None):
    answers = ids[:, 1:]
    loss = F.cross_entropy(logits[:, :-1].permute(0, 2, 1), answers, reduction="none")
    weights = torch.ones_like(loss) if weights is None else weights[:, 1:].to(loss.dtype)
    return torch.sum(loss * weights) / torch.sum(weights)


@right("flattened, with logsumexp")
def next_token_loss(logits, ids, weights=None):
    guesses = rearrange(logits[:, :-1], "b l v -> (b l) v")
    answers = rearrange(ids[:, 1:], "b l -> (b l)")
    loss = guesses.logsumexp(-1) - guesses[torch.arange(len(answers)), answers]
    if weights is None:
        weights = torch.ones(ids.shape, dtype=logits.dtype)
    share = weights[:, 1:].reshape(-1)
    return (share * loss).sum() / share.sum()


# --- KVCache ---------------------------------------------------------------------------------------------------------


@wrong("returns the whole memory", says="not the whole memory")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.lengths, self.memory = capacity, padding, [0] * n_layers, [None] * n_layers

    @property
    def length(self):
        return self.lengths[-1]

    def update(self, layer, k, v):
        start, stop = self.lengths[layer], self.lengths[layer] + k.shape[2]
        if self.memory[layer] is None:
            self.memory[layer] = [k.new_zeros(*k.shape[:2], self.capacity, k.shape[3]) for _ in "kv"]
        for memory, new in zip(self.memory[layer], (k, v), strict=False):
            memory[:, :, start:stop] = new.detach()
        self.lengths[layer] = stop
        return tuple(self.memory[layer])


@wrong("keeps only the newest tokens", says="append the new ones once")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.lengths = capacity, padding, [0] * n_layers

    @property
    def length(self):
        return self.lengths[-1]

    def update(self, layer, k, v):
        if self.lengths[layer] + k.shape[2] > self.capacity:
            raise ValueError("full")
        self.lengths[layer] += k.shape[2]
        return k, v


@wrong("appends twice", says="4 tokens of 9")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        for _ in range(2):
            old = self.layers[layer]
            self.layers[layer] = (
                (k, v) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (k, v), strict=False))
            )
        return self.layers[layer]


@wrong("appends twice, but for the first time", says="append the new ones once")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        if old is None:
            self.layers[layer] = k, v
        else:
            self.layers[layer] = tuple(torch.cat([o, n, n], dim=2) for o, n in zip(old, (k, v), strict=False))
        return self.layers[layer]


@wrong("one memory for all layers", says="layer 1 has keys and values of its own")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.k, self.seen = capacity, padding, None, [0] * n_layers

    @property
    def length(self):
        return self.seen[-1]

    def update(self, layer, k, v):
        self.seen[layer] += k.shape[2]
        self.k = k if self.k is None else torch.cat([self.k, k], dim=2)
        self.v = v if self.k is k else torch.cat([self.v, v], dim=2)
        return self.k, self.v


@wrong("the memory is in the class: shared between caches", says="in the object, not in the class")
class KVCache:
    layers = {}

    def __init__(self, n_layers, capacity, padding=None):
        self.n_layers, self.capacity, self.padding = n_layers, capacity, padding

    @property
    def length(self):
        return self.layers[self.n_layers - 1][0].shape[2] if self.n_layers - 1 in self.layers else 0

    def update(self, layer, k, v):
        old = self.layers.get(layer)
        if old is not None and old[0].shape[2] + k.shape[2] > self.capacity:
            raise ValueError("full")
        k, v = k.detach(), v.detach()
        self.layers[layer] = (
            (k, v) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (k, v), strict=False))
        )
        return self.layers[layer]


@wrong("the length counts every layer's tokens", says="only layer 0 has the tokens yet")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers, self.seen = capacity, padding, [None] * n_layers, 0

    @property
    def length(self):
        return self.seen

    def update(self, layer, k, v):
        old, self.seen = self.layers[layer], self.seen + k.shape[2]
        self.layers[layer] = (
            (k, v) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (k, v), strict=False))
        )
        return self.layers[layer]


@wrong("counts calls", says="count tokens, not calls")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers, self.calls = capacity, padding, [None] * n_layers, [0] * n_layers

    @property
    def length(self):
        return self.calls[-1]

    def update(self, layer, k, v):
        self.calls[layer] += 1
        old = self.layers[layer]
        self.layers[layer] = (
            (k, v) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (k, v), strict=False))
        )
        return self.layers[layer]


@wrong("takes any number of tokens", says="10 tokens in a cache for 9")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        self.layers[layer] = (
            (k, v) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (k, v), strict=False))
        )
        return self.layers[layer]


@wrong("counts first, then finds it full", says="must change nothing")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.lengths, self.memory = capacity, padding, [0] * n_layers, [None] * n_layers

    @property
    def length(self):
        return self.lengths[-1]

    def update(self, layer, k, v):
        start = self.lengths[layer]
        self.lengths[layer] += k.shape[2]
        if self.lengths[layer] > self.capacity:
            raise ValueError("full")
        if self.memory[layer] is None:
            self.memory[layer] = [k.new_zeros(*k.shape[:2], self.capacity, k.shape[3]) for _ in "kv"]
        for memory, new in zip(self.memory[layer], (k, v), strict=False):
            memory[:, :, start : self.lengths[layer]] = new.detach()
        return [memory[:, :, : self.lengths[layer]] for memory in self.memory[layer]]


@wrong("values in the place of keys", says="first the keys")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        self.layers[layer] = (
            (v, k) if old is None else tuple(torch.cat(p, dim=2) for p in zip(old, (v, k), strict=False))
        )
        return self.layers[layer]


@wrong("memory of float32 only", says="another batch, number of heads and dtype")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.lengths, self.memory = capacity, padding, [0] * n_layers, [None] * n_layers

    @property
    def length(self):
        return self.lengths[-1]

    def update(self, layer, k, v):
        start, stop = self.lengths[layer], self.lengths[layer] + k.shape[2]
        if stop > self.capacity:
            raise ValueError("full")
        if self.memory[layer] is None:
            self.memory[layer] = torch.zeros(2, *k.shape[:2], self.capacity, k.shape[3])
        self.memory[layer][0][:, :, start:stop], self.memory[layer][1][:, :, start:stop] = k.detach(), v.detach()
        self.lengths[layer] = stop
        return self.memory[layer][0][:, :, :stop], self.memory[layer][1][:, :, :stop]


@wrong("is full one token too early", says="9 tokens fit into a cache for 9")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        if old is not None:
            k, v = torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2)
        if k.shape[2] >= self.capacity:
            raise ValueError("the cache is full")
        self.layers[layer] = (k.detach(), v.detach())
        return self.layers[layer]


@wrong("keeps the gradients", says="nobody learns through a cache")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity, self.padding, self.layers = capacity, padding, [None] * n_layers

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        if old is not None:
            k, v = torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2)
        if k.shape[2] > self.capacity:
            raise ValueError("the cache is full")
        self.layers[layer] = (k, v)
        return self.layers[layer]


@right("grows by torch.cat: slower, and right")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.capacity = capacity
        self.padding = padding
        self.layers = [None for _ in range(n_layers)]

    @property
    def length(self):
        return 0 if self.layers[-1] is None else self.layers[-1][0].shape[2]

    def update(self, layer, k, v):
        old = self.layers[layer]
        if old is not None:
            k, v = torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2)
        if k.shape[2] > self.capacity:
            raise ValueError("the cache is full")
        self.layers[layer] = (k.detach(), v.detach())
        return self.layers[layer]


@right("one tensor for keys and values of a layer, in dictionaries")
class KVCache:
    def __init__(self, n_layers, capacity, padding=None):
        self.n_layers, self.capacity, self.padding = n_layers, capacity, padding
        self.memory, self.filled = {}, {}

    @property
    def length(self):
        return self.filled.get(self.n_layers - 1, 0)

    @torch.no_grad()
    def update(self, layer, k, v):
        both = torch.stack([k, v])
        at, n = self.filled.get(layer, 0), k.size(2)
        if at + n > self.capacity:
            raise ValueError(f"only {self.capacity - at} places are left")
        if layer not in self.memory:
            shape = list(both.shape)
            shape[3] = self.capacity
            self.memory[layer] = torch.zeros(shape, dtype=k.dtype, device=k.device)
        self.memory[layer].narrow(3, at, n).copy_(both)
        self.filled[layer] = at + n
        return tuple(self.memory[layer].narrow(3, 0, at + n))


# --- CausalSelfAttention ---------------------------------------------------------------------------------------------


@wrong("a strict mask: no token sees itself", says="a token sees itself")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2] - 1)
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("no mask", says="a token sees later ones")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("is_causal=True: the mask is aligned with the upper left corner", says="the new token sees only key 0")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("is_causal=True but for a single token", says="a chunk of 2 after 5")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("ignores the cache", says="append the new tokens to the cache")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("fills the cache and does not use it", says="the new token sees only itself")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("always the first layer of the cache", says="for your layer")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(0, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("appends twice", says="append the new tokens to the cache, once")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            if cache.length:
                cache.update(layer, k, v)
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("filling is seen", says="filling is seen")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("the padding of the first row for all", says="of that row, and no others")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        if cache is not None and cache.padding is not None:
            mask = mask & (torch.arange(k.shape[2]) >= cache.padding.max())
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("filling gets NaN", says="NaN: filling sees nothing")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        if cache is not None and cache.padding is not None:
            mask = mask & (torch.arange(k.shape[2]) >= cache.padding[:, None, None, None])
        scores = q @ k.mT / q.shape[-1] ** 0.5
        out = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("features split head by head, each with its q, k and v", says="in this order")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (h qkv d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("no output projection", says="heads merged, then w_o")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return rearrange(out, "b h l d -> b l (h d)")


@wrong("shifts the mask by the length of the cache's last layer", says="count the keys that `update` returns")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        old = 0 if cache is None else cache.length
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(old)
        if cache is not None and cache.padding is not None:
            mask = mask & (torch.arange(k.shape[2]) >= cache.padding[:, None, None, None])
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("causal without a cache only", says="must not see one another's future")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("True hides, as in nn.MultiheadAttention", says="True keeps, in F.scaled_dot_product_attention")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.w_qkv, self.w_o = n_heads, nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(k.shape[2] - q.shape[2] + 1)
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@right("views, a mask from places, its own softmax")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.h = n_heads
        self.w_qkv = nn.Linear(d_model, d_model * 3, bias=True)
        self.w_o = nn.Linear(d_model, d_model, bias=True)

    def forward(self, x, cache=None, layer=0):
        b, new, d_model = x.shape
        q, k, v = (t.view(b, new, self.h, -1).transpose(1, 2) for t in self.w_qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.update(layer, k, v)
        keys = torch.arange(k.size(2), device=x.device)
        queries = torch.arange(k.size(2) - new, k.size(2), device=x.device)
        mask = (keys <= queries[:, None])[None, None]
        if cache is not None and cache.padding is not None:
            mask = mask & (keys >= cache.padding.view(-1, 1, 1, 1))
        scores = (q @ k.transpose(-2, -1)) / q.size(-1) ** 0.5
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
        return self.w_o((weights @ v).transpose(1, 2).reshape(b, new, d_model))


@right("PyTorch's causal flag where there is no past, a mask of -inf where there is")
class CausalSelfAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.w_qkv, self.w_o = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x, cache=None, layer=0):
        q, k, v = self.w_qkv(x).split(x.shape[-1], dim=-1)
        q, k, v = (rearrange(t, "b l (h d) -> b h l d", h=self.n_heads) for t in (q, k, v))
        if cache is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v = cache.update(layer, k, v)
            n, m = q.shape[-2], k.shape[-2]
            hidden = torch.full((n, m), -torch.inf, dtype=x.dtype).triu(m - n + 1)
            if cache.padding is not None:
                filling = torch.arange(m) < cache.padding[:, None]
                hidden = hidden + torch.zeros(len(x), 1, 1, m, dtype=x.dtype).masked_fill(filling[:, None, None], -1e30)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


# --- GPT -------------------------------------------------------------------------------------------------------------


@wrong("a head with weights of its own", says="the head has no weights of its own")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab_size, bias=False)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return self.head(self.norm(x))


@wrong("positions start again at 0 with each chunk", says="they do not start again at 0")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        if ids.shape[1] > self.context:
            raise ValueError("too long")
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("does not hand the cache on", says="hand cache and layer to each block")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        if ids.shape[1] > self.context:
            raise ValueError("too long")
        if cache is not None:
            for layer in range(len(self.blocks)):
                cache.update(layer, *torch.zeros(2, len(ids), 1, ids.shape[1], 1))
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("all blocks share layer 0 of the cache", says="each block uses its own layer")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError("too long")
        if cache is not None:
            cache.capacity *= len(self.blocks)
        x = self.tokens(ids) + self.positions(torch.arange(past, past + ids.shape[1]))
        for block in self.blocks:
            x = block(x, cache)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("remembers the last cache", says="must not remember an earlier one")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions, self.last = nn.Embedding(context, d_model), None
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        self.last = past = 0 if cache is None and self.last is None else cache.length if cache else self.last
        if past + ids.shape[1] > self.context and cache is None:
            past = 3
        x = self.tokens(ids) + self.positions(torch.arange(past, past + ids.shape[1]) % self.context)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        if ids.shape[1] > self.context:
            raise ValueError("too long")
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("no positions", says="positions are not added")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        x = self.tokens(ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("no last norm", says="the last norm")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(x, self.tokens.weight)


@wrong("starts as PyTorch does: tables from N(0, 1)", says="the tables start too large")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)

    def forward(self, ids, cache=None):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("padding moves no positions", says="positions count its real tokens")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError("too long")
        x = self.tokens(ids) + self.positions(torch.arange(past, past + ids.shape[1]))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("counts the new tokens only against the context", says="count those of the cache")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if ids.shape[1] > self.context:
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places % self.context)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("refuses a text of exactly `context` tokens", says="12 of 12")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] >= self.context:
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("refuses it with a cache only", says="9 in the cache and 3")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] >= self.context + (past == 0):
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("no look at the context", says="13 tokens, but context is 12")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        assert ids.shape[1] > 0
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("filling has negative positions", says="the positions of filling are negative")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = places - cache.padding[:, None]
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("small_start for the tokens alone", says="the tables start too large")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.tokens.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@wrong("small_start for the tables alone", says="biases start at 0")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context, self.tokens = context, nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.tokens.apply(small_start), self.positions.apply(small_start)

    def forward(self, ids, cache=None):
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError("too long")
        places = torch.arange(past, past + ids.shape[1])
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)


@right("the head by matmul, places row by row")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context = context
        self.tokens, self.positions = nn.Embedding(vocab_size, d_model), nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model, eps=1e-5)
        for module in self.modules():
            small_start(module)

    def forward(self, ids, cache=None):
        start = cache.length if cache is not None else 0
        stop = start + ids.size(1)
        if stop > self.context:
            raise ValueError("the text is longer than the context")
        missing = torch.zeros(ids.size(0), dtype=torch.long, device=ids.device)
        if cache is not None and cache.padding is not None:
            missing = cache.padding
        places = torch.stack([torch.arange(start, stop, device=ids.device) - n for n in missing])
        x = self.tokens(ids) + self.positions(torch.clamp(places, min=0))
        for i in range(len(self.blocks)):
            x = self.blocks[i](x, cache=cache, layer=i)
        return self.norm(x) @ self.tokens.weight.T


@right("looks the tables up by index, the head with einsum")
class GPT(nn.Module):
    def __init__(self, vocab_size, context, d_model, n_layers, n_heads):
        super().__init__()
        self.context = context
        self.norm = nn.LayerNorm(d_model)
        self.blocks = nn.ModuleList()
        for _ in range(n_layers):
            self.blocks.append(Block(d_model, n_heads))
        self.positions = nn.Embedding(context, d_model)
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.apply(small_start)

    def forward(self, ids, cache=None):
        past = cache.length if cache else 0
        if past + ids.shape[1] > self.context:
            raise ValueError("too many tokens")
        places = past + torch.arange(ids.shape[1], device=ids.device)
        if cache and cache.padding is not None:
            places = F.relu(places[None] - cache.padding[:, None])
        x = self.tokens.weight[ids] + self.positions.weight[places]
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return einsum(self.norm(x), self.tokens.weight, "b l d, v d -> b l v")


# --- generate --------------------------------------------------------------------------------------------------------


@wrong("no cache: the whole text for each token", says="use the cache")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    new = []
    for _ in range(max_new):
        new.append(choose(model(torch.cat([ids, *(t[:, None] for t in new)], dim=1))[:, -1]))
    return torch.stack(new, dim=1)


@wrong("recomputes the prompt with each new token, into a new cache", says="use the cache")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    start = ids.shape[1]
    for _ in range(max_new):
        cache = KVCache(len(model.blocks), ids.shape[1], padding)
        ids = torch.cat([ids, choose(prefill(model, ids, cache, chunk))[:, None]], dim=1)
    return ids[:, start:]


@wrong("sends the last token of the prompt through again", says="none may go through the model twice")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new + 1, padding)
    prefill(model, ids, cache, chunk)
    token, new = ids[:, -1], []
    for _ in range(max_new):
        token = choose(decode_step(model, token, cache))
        new.append(token)
    decode_step(model, token, cache)
    return torch.stack(new, dim=1)


@wrong("the last token of the prompt twice: it stands in the text twice", says="the prompt's last token gives")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new + 1, padding)
    prefill(model, ids, cache, chunk)
    token, new = ids[:, -1], []
    for _ in range(max_new):
        token = choose(decode_step(model, token, cache))
        new.append(token)
    return torch.stack(new, dim=1)


@wrong("a cache as a default argument: shared between calls", says="a second call")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None, caches={}):  # noqa: B006 - the mistake
    ids, padding = left_pad(prompts)
    cache = caches.setdefault(len(model.blocks), KVCache(len(model.blocks), 10_000, padding))
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
    return torch.stack(new, dim=1)


@wrong("forgets the padding", says="must be as if it were alone")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, _ = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
    return torch.stack(new, dim=1)


@wrong("one prompt after the other", says="all prompts go through together")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    rows = []
    for prompt in prompts:
        cache, new = KVCache(len(model.blocks), len(prompt) + max_new), []
        logits = prefill(model, prompt[None], cache, chunk)
        for step in range(max_new):
            if step:
                logits = decode_step(model, new[-1], cache)
            new.append(choose(logits))
        rows.append(torch.cat(new))
    return torch.stack(rows)


@wrong("always greedy", says="call `choose` for each")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(logits.argmax(-1))
    return torch.stack(new, dim=1)


@wrong("ignores `end`", says="stop when every row has chosen `end`")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        token = choose(logits)
        if end is not None and len(prompts) > 1:
            done = torch.stack([token, *new]).eq(end).any(0)
            token = token.masked_fill(done, end)
        new.append(token)
    return torch.stack(new, dim=1)


@wrong("stops at the first row that ends", says="not at the first one")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
        if end is not None and (new[-1] == end).any():
            break
    return torch.stack(new, dim=1)


@wrong("a finished row talks on", says="goes on with `end`")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
        if end is not None and (torch.stack(new) == end).any(0).all():
            break
    return torch.stack(new, dim=1)


@wrong("the prompt in one piece, whatever `chunk` says", says="goes through in such parts")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
    return torch.stack(new, dim=1)


@wrong("returns the prompt as well", says="the new tokens only")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    for step in range(max_new):
        if step:
            logits = decode_step(model, new[-1], cache)
        new.append(choose(logits))
    return torch.cat([ids, torch.stack(new, dim=1)], dim=1)


@wrong("returns the second new token first", says="once for each new column")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    token, new = choose(prefill(model, ids, cache, chunk)), []
    for _ in range(max_new):
        token = choose(decode_step(model, token, cache))
        new.append(token)
    return torch.stack(new, dim=1)


@wrong("`if end:` takes token 0 for None", says="`end` may be token 0")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new:
        token = choose(logits)
        if end:
            token = token.masked_fill(finished, end)
            finished |= token == end
        new.append(token)
        if finished.all() or len(new) == max_new:
            break
        logits = decode_step(model, token, cache)
    return torch.stack(new, dim=1)


@wrong("sends the last new token through too", says="is chosen and never goes through")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new:
        token = choose(logits)
        if end is not None:
            token = token.masked_fill(finished, end)
            finished |= token == end
        new.append(token)
        if finished.all():
            break
        logits = decode_step(model, token, cache)
    return torch.stack(new, dim=1)


@wrong("stops quietly at the end of the context", says="let the model's ValueError through")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new:
        token = choose(logits)
        if end is not None:
            token = token.masked_fill(finished, end)
            finished |= token == end
        new.append(token)
        if finished.all() or len(new) == max_new or cache.length == model.context:
            break
        logits = decode_step(model, token, cache)
    return torch.stack(new, dim=1)


@wrong("leaves out the last `end`", says="keep the last `end` too")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    while len(new) < max_new:
        token = choose(logits)
        if end is not None:
            token = token.masked_fill(finished, end)
            finished |= token == end
        if finished.all():
            break
        new.append(token)
        if len(new) == max_new:
            break
        logits = decode_step(model, token, cache)
    return torch.stack(new, dim=1)


@right("a table that is filled")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    ids, padding = left_pad(prompts)
    b, length = ids.shape
    cache = KVCache(len(model.blocks), capacity=length + max_new, padding=padding)
    out = torch.full((b, max_new), -1 if end is None else end, dtype=torch.int64)
    with torch.no_grad():
        logits = prefill(model, ids, cache, chunk=chunk)
        for i in range(max_new):
            chosen = choose(logits)
            if end is not None and i > 0:
                done = (out[:, :i] == end).any(dim=1)
                chosen = torch.where(done, torch.full_like(chosen, end), chosen)
            out[:, i] = chosen
            if end is not None and (out[:, : i + 1] == end).any(dim=1).all():
                return out[:, : i + 1]
            if i + 1 < max_new:
                logits = decode_step(model, out[:, i], cache)
    return out


@right("the model called directly, rows as lists")
def generate(model, prompts, max_new, choose=greedy, end=None, chunk=None):
    longest = max(map(len, prompts))
    ids = torch.stack([torch.cat([p.new_zeros(longest - len(p)), p]) for p in prompts])
    padding = torch.tensor([longest - len(p) for p in prompts])
    cache = KVCache(n_layers=len(model.blocks), capacity=longest + max_new, padding=padding)
    step = chunk or longest
    for at in range(0, longest, step):
        logits = model(ids[:, at : at + step], cache)
    rows = [[] for _ in prompts]
    while True:
        for row, token in zip(rows, choose(logits[:, -1]).tolist(), strict=True):
            row.append(end if end is not None and end in row else token)
        if len(rows[0]) == max_new or (end is not None and all(end in row for row in rows)):
            return torch.tensor(rows)
        logits = model(torch.tensor([[row[-1]] for row in rows]), cache)


# --- warp_logits -----------------------------------------------------------------------------------------------------


@wrong("top-p drops the token that crosses p", says="not only for the first one")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        dropped = ranked.softmax(-1).cumsum(-1) >= top_p
        dropped[..., 0] = False
        logits = logits.masked_fill(dropped.gather(-1, order.argsort(-1)), -torch.inf)
    return logits


@wrong("top-p may drop everything", says="the most likely token is always kept")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        dropped = ranked.softmax(-1).cumsum(-1) >= top_p / 4
        logits = logits.masked_fill(dropped.gather(-1, order.argsort(-1)), -torch.inf)
    return logits


@wrong("k off by one", says="keeps 3 tokens")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits <= logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    return logits


@wrong("multiplies by the temperature", says="divide by the temperature")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    return logits * temperature


@wrong("a dropped token gets 0", says="a dropped token gets -inf")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], 0.0)
    return logits


@wrong("one threshold for the whole batch", says="each by its own ranks")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.flatten().topk(top_k).values[-1], -torch.inf)
    return logits


@wrong("the result stays in sorted order", says="back in the tokens' places")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        p = ranked.softmax(-1)
        logits = ranked.masked_fill(p.cumsum(-1) - p >= top_p, -torch.inf)
    return logits


@wrong("top-p before the temperature", says="in this order")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        p = ranked.softmax(-1)
        logits = logits.masked_fill((p.cumsum(-1) - p >= top_p).gather(-1, order.argsort(-1)), -torch.inf)
    return logits / temperature


@wrong("top-p on the distribution before top-k", says="each on what the one before left")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    ranked, order = logits.sort(descending=True)
    p = ranked.softmax(-1)
    if top_k is not None:
        logits = logits.masked_fill(logits < ranked[..., [min(top_k, logits.shape[-1]) - 1]], -torch.inf)
    if top_p is not None:
        logits = logits.masked_fill((p.cumsum(-1) - p >= top_p).gather(-1, order.argsort(-1)), -torch.inf)
    return logits


@wrong("puts the answer back by the wrong index", says="back in the tokens' places")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        p = ranked.softmax(-1)
        logits = logits.masked_fill((p.cumsum(-1) - p >= top_p).gather(-1, order), -torch.inf)
        logits = torch.where(logits.amax(-1, keepdim=True).isfinite(), logits, 0.0)
    return logits


@wrong("top-p by the running sum, without the token that crosses", says="the token that crosses p is kept")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        dropped = ranked.softmax(-1).cumsum(-1) >= top_p
        logits = logits.masked_fill(dropped.gather(-1, order.argsort(-1)), -torch.inf)
    return logits


@wrong("p = 1 drops what rounding leaves no room for", says="top_p=1 keeps all")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[..., -1:], -torch.inf)
    if top_p is not None:
        ranked, order = logits.sort(descending=True)
        dropped = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1) >= top_p
        logits = logits.masked_fill(dropped.gather(-1, order.argsort(-1)), -torch.inf)
    return logits


@right("as Hugging Face: sorted upwards, scattered back")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        k = min(top_k, logits.size(-1))
        logits = logits.masked_fill(logits < torch.topk(logits, k)[0][..., -1, None], float("-inf"))
    if top_p is not None:
        upwards, index = torch.sort(logits, descending=False)
        remove = upwards.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        remove[..., -1:] = False
        logits = logits.masked_fill(torch.zeros_like(remove).scatter(-1, index, remove), float("-inf"))
    return logits


@right("row by row")
def warp_logits(logits, temperature=1.0, top_k=None, top_p=None):
    if logits.dim() > 1:
        return torch.stack([warp_logits(row, temperature, top_k, top_p) for row in logits])
    row = logits / temperature
    if top_k is not None and top_k < len(row):
        smallest = row.sort(descending=True).values[top_k - 1]
        row = torch.where(row >= smallest, row, torch.tensor(-torch.inf, dtype=row.dtype))
    if top_p is not None and top_p < 1:
        p, kept, mass = row.softmax(-1), torch.zeros(len(row), dtype=torch.bool), 0.0
        for i in row.argsort(descending=True).tolist():
            kept[i] = mass < top_p
            mass += p[i].item()
        row = row.masked_fill(~kept, -torch.inf)
    return row


# --- beam_search -----------------------------------------------------------------------------------------------------


@wrong("greedy, whatever the number of beams", says="on all live beams")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    tokens, total = [], 0.0
    for _ in range(max_new):
        logp = next_logits(torch.cat([prompt, prompt.new_tensor(tokens)])[None])[0].log_softmax(-1)
        tokens.append(int(logp.argmax()))
        total += logp.max().item()
    return tokens, total


@wrong("adds logits instead of log-probabilities", says="log_softmax first")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        sums = next_logits(ids) + torch.tensor([[s] for _, s in live])
        best = sums.flatten().topk(min(2 * n_beams, sums.numel()))
        beams, live = live, []
        for s, index in zip(best.values.tolist(), best.indices.tolist(), strict=False):
            row, token = divmod(index, sums.shape[-1])
            if len(live) < n_beams:
                live.append(([*beams[row][0], token], s))
    return max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)


@wrong("multiplies the log-probabilities", says="add up")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live = [([], -1.0)]
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [
            ([*t, i], -abs(s * x)) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)
        ]
        live = sorted(grown, key=lambda beam: -beam[1])[:n_beams]
    return live[0]


@wrong("returns the score, not the sum", says="return the sum itself")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    tokens, total = max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)
    return tokens, total / len(tokens) ** length_penalty


@wrong("the length does not count", says="sum / length")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1])


@wrong("the length counts the prompt", says="sum / length")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1] / (len(prompt) + len(beam[0])) ** length_penalty)


@wrong("the best of each beam only: beams cannot multiply", says="on all live beams")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live = [([], 0.0)]
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        live = [([*t, int(r.argmax())], s + r.max().item()) for (t, s), r in zip(live, logp, strict=False)]
    return max(live, key=lambda beam: beam[1])


@wrong("finished beams are extended", says="extend it no further")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live = [([], 0.0)]
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        live = sorted(grown, key=lambda beam: -beam[1])[:n_beams]
    return max(live, key=lambda beam: (end in beam[0][:-1], beam[1]))


@wrong("looks at n_beams candidates only", says="look at the best 2·n_beams")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[:n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end]
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)


@wrong("returns the prompt as well", says="without the prompt")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live = [(prompt.tolist(), 0.0)]
    for _ in range(max_new):
        logp = next_logits(torch.tensor([tokens for tokens, _ in live])).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        live = sorted(grown, key=lambda beam: -beam[1])[:n_beams]
    return live[0]


@wrong("the length does not count `end`", says="`end` counts in the length")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1] / max(1, sum(t != end for t in beam[0])) ** length_penalty)


@wrong("stops at the first beam that ends", says="the search goes on after a beam has ended")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live or finished:
            break
    return max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)


@wrong("forgets the beams that still live", says="beams that still live")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    return max((finished or live), key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)


@right("plain lists, sorted")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.tensor([prompt.tolist() + tokens for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)
        grown = [([*t, i], s + x) for (t, s), r in zip(live, logp.tolist(), strict=False) for i, x in enumerate(r)]
        grown = sorted(grown, key=lambda beam: -beam[1])[: 2 * n_beams]
        finished += [beam for beam in grown if beam[0][-1] == end]
        live = [beam for beam in grown if beam[0][-1] != end][:n_beams]
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)


@right("tensors for the live beams")
def beam_search(next_logits, prompt, n_beams, max_new, end=None, length_penalty=1.0):
    ids, sums, done = prompt[None], None, []
    for _step in range(1, max_new + 1):
        logp = torch.log_softmax(next_logits(ids), dim=-1)
        totals = logp if sums is None else logp + sums[:, None]
        values, places = totals.reshape(-1).sort(descending=True)
        values, places = values[: 2 * n_beams], places[: 2 * n_beams]
        ids = torch.cat([ids[places // logp.shape[1]], (places % logp.shape[1])[:, None]], dim=1)
        ended = ids[:, -1] == (-1 if end is None else end)
        done += [(row.tolist(), total.item()) for row, total in zip(ids[ended], values[ended], strict=False)]
        ids, sums = ids[~ended][:n_beams], values[~ended][:n_beams]
        if len(ids) == 0:
            break
    done += [(row.tolist(), total.item()) for row, total in zip(ids, sums, strict=False)]
    scores = [total / (len(row) - len(prompt)) ** length_penalty for row, total in done]
    row, total = done[scores.index(max(scores))]
    return row[len(prompt) :], total


# --- load_gpt2 -------------------------------------------------------------------------------------------------------


@wrong("nothing is transposed", says="size mismatch")
def load_gpt2(model, tensors):
    pairs = [
        ("wte", "tokens"),
        ("wpe", "positions"),
        ("ln_f", "norm"),
        ("ln_1", "attention_norm"),
        ("ln_2", "feed_forward_norm"),
    ]
    pairs += [("attn.c_attn", "attention.w_qkv"), ("attn.c_proj", "attention.w_o"), ("mlp.c_fc", "feed_forward.w_in")]
    pairs += [("mlp.c_proj", "feed_forward.w_out"), ("h.", "blocks.")]
    state = {}
    for name, tensor in tensors.items():
        ours = name.removeprefix("transformer.")
        for theirs, mine in pairs:
            ours = ours.replace(theirs, mine) if theirs != "h." or ours.startswith("h.") else ours
        if ours in model.state_dict():
            state[ours] = tensor
    model.load_state_dict(state)


@wrong("transposes only where the shape does not fit", says="transpose the square matrix")
def load_gpt2(model, tensors):
    pairs = [
        ("wte", "tokens"),
        ("wpe", "positions"),
        ("ln_f", "norm"),
        ("ln_1", "attention_norm"),
        ("ln_2", "feed_forward_norm"),
    ]
    pairs += [("attn.c_attn", "attention.w_qkv"), ("attn.c_proj", "attention.w_o"), ("mlp.c_fc", "feed_forward.w_in")]
    pairs += [("mlp.c_proj", "feed_forward.w_out"), ("h.", "blocks.")]
    state, mine_all = {}, model.state_dict()
    for name, tensor in tensors.items():
        ours = name.removeprefix("transformer.")
        for theirs, mine in pairs:
            ours = ours.replace(theirs, mine) if theirs != "h." or ours.startswith("h.") else ours
        if ours in mine_all:
            state[ours] = tensor if tensor.shape == mine_all[ours].shape else tensor.T
    model.load_state_dict(state)


@wrong("takes no prefix", says="wte.weight")
def load_gpt2(model, tensors):
    theirs = {
        "attention_norm": "ln_1",
        "feed_forward_norm": "ln_2",
        "attention.w_qkv": "attn.c_attn",
        "attention.w_o": "attn.c_proj",
    }
    theirs |= {"feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj"}
    state = {"tokens.weight": tensors["wte.weight"], "positions.weight": tensors["wpe.weight"]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for mine, other in theirs.items():
                tensor = tensors[f"h.{i}.{other}.{kind}"]
                state[f"blocks.{i}.{mine}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    model.load_state_dict(state)


@wrong("what is missing is left as it is", says="nobody was told")
def load_gpt2(model, tensors):
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    theirs = {
        "attention_norm": "ln_1",
        "feed_forward_norm": "ln_2",
        "attention.w_qkv": "attn.c_attn",
        "attention.w_o": "attn.c_proj",
    }
    theirs |= {"feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj"}
    state = {"tokens.weight": tensors["wte.weight"], "positions.weight": tensors["wpe.weight"]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for mine, other in theirs.items():
                if f"h.{i}.{other}.{kind}" in tensors:
                    tensor = tensors[f"h.{i}.{other}.{kind}"]
                    state[f"blocks.{i}.{mine}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    model.load_state_dict(state, strict=False)


@wrong("the norms are swapped", says="is not what GPT-2's tensor says")
def load_gpt2(model, tensors):
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    theirs = {
        "attention_norm": "ln_2",
        "feed_forward_norm": "ln_1",
        "attention.w_qkv": "attn.c_attn",
        "attention.w_o": "attn.c_proj",
    }
    theirs |= {"feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj"}
    state = {"tokens.weight": tensors["wte.weight"], "positions.weight": tensors["wpe.weight"]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for mine, other in theirs.items():
                tensor = tensors[f"h.{i}.{other}.{kind}"]
                state[f"blocks.{i}.{mine}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    model.load_state_dict(state)


@wrong("hands the tensors over, dtype and all", says="took the float64 of the tensor")
def load_gpt2(model, tensors):
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    theirs = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2", "attention.w_qkv": "attn.c_attn"}
    theirs |= {"attention.w_o": "attn.c_proj", "feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj"}
    state = {"tokens.weight": tensors["wte.weight"], "positions.weight": tensors["wpe.weight"]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for mine, other in theirs.items():
                tensor = tensors[f"h.{i}.{other}.{kind}"]
                state[f"blocks.{i}.{mine}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    model.load_state_dict(state, assign=True)


@wrong("copies with broadcasting", says="do not broadcast it")
def load_gpt2(model, tensors):
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    theirs = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2", "attention.w_qkv": "attn.c_attn"}
    theirs |= {"attention.w_o": "attn.c_proj", "feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj"}
    state = {"tokens.weight": tensors["wte.weight"], "positions.weight": tensors["wpe.weight"]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for mine, other in theirs.items():
                tensor = tensors[f"h.{i}.{other}.{kind}"]
                state[f"blocks.{i}.{mine}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])


@right("parameter by parameter, by hand")
def load_gpt2(model, tensors):
    def get(name):
        return tensors[name] if name in tensors else tensors["transformer." + name]

    with torch.no_grad():

        def put(parameter, tensor):
            if parameter.shape != tensor.shape:
                raise ValueError(f"{tuple(tensor.shape)} does not fit {tuple(parameter.shape)}")
            parameter.copy_(tensor)

        put(model.tokens.weight, get("wte.weight"))
        put(model.positions.weight, get("wpe.weight"))
        for kind in ("weight", "bias"):
            put(getattr(model.norm, kind), get(f"ln_f.{kind}"))
        for i, block in enumerate(model.blocks):
            for kind in ("weight", "bias"):
                put(getattr(block.attention_norm, kind), get(f"h.{i}.ln_1.{kind}"))
                put(getattr(block.feed_forward_norm, kind), get(f"h.{i}.ln_2.{kind}"))
            linears = {"attn.c_attn": block.attention.w_qkv, "attn.c_proj": block.attention.w_o}
            linears |= {"mlp.c_fc": block.feed_forward.w_in, "mlp.c_proj": block.feed_forward.w_out}
            for name, linear in linears.items():
                put(linear.weight, get(f"h.{i}.{name}.weight").T)
                put(linear.bias, get(f"h.{i}.{name}.bias"))


@right("names replaced one after another")
def load_gpt2(model, tensors):
    wanted = model.state_dict()
    found = {}
    for name, tensor in tensors.items():
        name = re.sub(r"^transformer\.", "", name)
        name = re.sub(r"^wte", "tokens", re.sub(r"^wpe", "positions", re.sub(r"^ln_f", "norm", name)))
        name = re.sub(r"^h\.", "blocks.", name)
        name = name.replace("ln_1", "attention_norm").replace("ln_2", "feed_forward_norm")
        name = name.replace("attn.c_attn", "attention.w_qkv").replace("attn.c_proj", "attention.w_o")
        name = name.replace("mlp.c_fc", "feed_forward.w_in").replace("mlp.c_proj", "feed_forward.w_out")
        if name in wanted:
            turn = name.split(".")[-2].startswith("w_") and tensor.ndim == 2
            found[name] = tensor.t() if turn else tensor
    model.load_state_dict(found, strict=True)
