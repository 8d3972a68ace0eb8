"""Fused recurrent layers, for a reader who has written the cells: torch's, told how long each sequence is."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

State = Tensor | tuple[Tensor, Tensor]


def encode(rnn: nn.RNNBase, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run `rnn` (an ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM`` with ``batch_first=True``) over padded sequences.

    `x` is (b, l, d_in), `lengths` (b,) int64 from 1 to l, `state` what torch takes, by default zeros. Padding is never
    read: the backward direction starts at each sequence's own last item, and a final state is the one after its end.

    Returns: the annotations (b, l, directions · d_hidden), zero at padding; the final state as torch returns it,
    (layers · directions, b, d_hidden), for an LSTM a tuple of two.
    """
    if not rnn.batch_first:
        raise ValueError("encode takes (b, l, d): make the layer with batch_first=True")
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    out, state = rnn(packed, state)
    annotations, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
    return annotations, state


def join_directions(state: State) -> State:
    """The final state of a bidirectional layer, both directions side by side.

    From (layers · 2, b, d_hidden) to (layers, b, 2 · d_hidden), forward first: where a decoder of that size can start.
    """
    if isinstance(state, tuple):
        return join_directions(state[0]), join_directions(state[1])
    forward_backward = state.unflatten(0, (-1, 2))  # (layers, 2, b, d)
    return forward_backward.transpose(1, 2).flatten(2)
