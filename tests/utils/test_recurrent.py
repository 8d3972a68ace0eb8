"""What the fused layers give for a padded batch is what torch gives for each sequence alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from utils.recurrent import encode, join_directions

LENGTHS = torch.tensor([3, 7, 1, 5])


def run(kind, **options):
    torch.manual_seed(0)
    rnn = kind(4, 6, batch_first=True, dtype=torch.float64, **options)
    return rnn, torch.randn(4, 7, 4, dtype=torch.float64)


def alone(state, row):
    return tuple(alone(s, row) for s in state) if isinstance(state, tuple) else state[:, row : row + 1]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bidirectional": True, "num_layers": 2}])
def test_padding_is_never_read(kind, options):
    rnn, x = run(kind, **options)
    annotations, final = encode(rnn, x, LENGTHS)
    assert annotations.shape == (4, 7, 12 if options else 6)
    for row, length in enumerate(LENGTHS.tolist()):
        expected, state = rnn(x[row : row + 1, :length])
        torch.testing.assert_close(annotations[row, :length], expected[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(alone(final, row), state, rtol=0, atol=1e-12)
        assert (annotations[row, length:] == 0).all()
    dirty = torch.where(torch.arange(7)[None, :, None] < LENGTHS[:, None, None], x, torch.nan)
    torch.testing.assert_close(encode(rnn, dirty, LENGTHS)[0], annotations, rtol=0, atol=0)


def test_the_length_of_the_batch_is_kept():
    rnn, x = run(nn.GRU)
    annotations, _ = encode(rnn, x, torch.tensor([3, 2, 1, 3]))
    assert annotations.shape == (4, 7, 6)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_state_is_carried(kind):
    rnn, x = run(kind)
    whole, final = encode(rnn, x, torch.full((4,), 7))
    first, state = encode(rnn, x[:, :4], torch.full((4,), 4))
    rest, last = encode(rnn, x[:, 4:], torch.full((4,), 3), state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(last, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_directions_are_joined_layer_by_layer(kind):
    rnn, x = run(kind, bidirectional=True, num_layers=2)
    annotations, final = encode(rnn, x, LENGTHS)
    joined = join_directions(final)
    hidden = joined[0] if isinstance(joined, tuple) else joined
    assert hidden.shape == (2, 4, 12)
    last = annotations[torch.arange(4), LENGTHS - 1, :6]  # forward: after the last item; backward: after the first
    torch.testing.assert_close(hidden[-1], torch.cat([last, annotations[:, 0, 6:]], -1), rtol=0, atol=0)


def test_a_layer_in_torchs_own_order_is_refused():
    with pytest.raises(ValueError, match="batch_first=True"):
        encode(nn.GRU(4, 6), torch.zeros(2, 3, 4), torch.tensor([3, 2]))
