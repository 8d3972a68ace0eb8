"""Planted answers for lesson 02: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.authoring.answers import right, wrong

# --- rnn_cell --------------------------------------------------------------------------------------------------------


@wrong("no tanh", says="tanh")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return x @ w_ih.T + b_ih + h @ w_hh.T + b_hh


@wrong("a sigmoid", says="not a sigmoid")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.sigmoid(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


@wrong("multiplies by the matrices as they are", says="(out, in)")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(x @ w_ih + b_ih + h @ w_hh + b_hh)


@wrong("transposes only the matrix of the input", says="(out, in)")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh + b_hh)


@wrong("forgets the second bias", says="two biases")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh))


@wrong("ignores the old state", says="old state h is not used")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(F.linear(x, w_ih, b_ih) + b_hh)


@wrong("returns output and state", says="one tensor")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    h = torch.tanh(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh))
    return h, h


@wrong("calls PyTorch's cell", says="from scratch")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.rnn_tanh_cell(x, h, w_ih, w_hh, b_ih, b_hh)


@right("with F.linear")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).tanh()


@right("one product, of input and state side by side")
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    both = torch.einsum("bi,oi->bo", torch.cat([x, h], dim=1), torch.cat([w_ih, w_hh], dim=1))
    return torch.tanh(both + (b_ih + b_hh))


# --- unroll ----------------------------------------------------------------------------------------------------------


@wrong("the new state is not carried on", says="carry the new one on")
def unroll(cell, xs, state, *weights):
    states = [cell(xs[:, t], state, *weights) for t in range(xs.shape[1])]
    return torch.stack([s[0] if isinstance(s, tuple) else s for s in states], dim=1), states[-1]


@wrong("stacks the length first", says="not (l, b, d)")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs), state


@wrong("goes through the batch in place of the length", says="not the next sequence")
def unroll(cell, xs, state, *weights):
    outputs = []
    for x in xs:
        state = cell(x, state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs), state


@wrong("reads from the end", says="from the first to the last")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in reversed(range(xs.shape[1])):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state


@wrong("outputs from the last to the first", says="in the order of the items")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.insert(0, state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state


@wrong("starts from zeros", says="do not start from zeros")
def unroll(cell, xs, state, *weights):
    state = tuple(torch.zeros_like(s) for s in state) if isinstance(state, tuple) else torch.zeros_like(state)
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state


@wrong("collects c, not h", says="the output is h")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[-1] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state


@wrong("returns the outputs alone", says="two things")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1)


@wrong("the last state of an LSTM is h alone", says="pair (h, c)")
def unroll(cell, xs, state, *weights):
    outputs = []
    for t in range(xs.shape[1]):
        state = cell(xs[:, t], state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), outputs[-1]


@right("writes into an empty tensor")
def unroll(cell, xs, state, *weights):
    b, length, _ = xs.shape
    outputs = None
    for t in range(length):
        state = cell(xs[:, t, :], state, *weights)
        h = state[0] if isinstance(state, (tuple, list)) else state
        if outputs is None:
            outputs = torch.empty(b, length, h.shape[-1], dtype=h.dtype)
        outputs[:, t] = h
    return outputs, state


@right("by recursion")
def unroll(cell, xs, state, *weights):
    state = cell(xs[:, 0], state, *weights)
    first = (state[0] if type(state) is tuple else state).unsqueeze(1)
    if xs.shape[1] == 1:
        return first, state
    rest, state = unroll(cell, xs[:, 1:], state, *weights)
    return torch.cat([first, rest], dim=1), state


# --- gradient_through_time -------------------------------------------------------------------------------------------


@wrong("starts after the first step", says="at t = 0")
def gradient_through_time(w, steps):
    jacobian, norms = w, []
    for _ in range(steps + 1):
        norms.append(torch.linalg.matrix_norm(jacobian, ord=2))
        jacobian = w @ jacobian
    return torch.stack(norms)


@wrong("leaves t = 0 out", says="steps + 1")
def gradient_through_time(w, steps):
    jacobian, norms = torch.eye(len(w), dtype=w.dtype), []
    for _ in range(steps):
        jacobian = w @ jacobian
        norms.append(torch.linalg.matrix_norm(jacobian, ord=2))
    return torch.stack(norms)


@wrong("the Frobenius norm", says="Frobenius")
def gradient_through_time(w, steps):
    return torch.stack([torch.linalg.matrix_norm(torch.linalg.matrix_power(w, t)) for t in range(steps + 1)])


@wrong("the power of the norm", says="power of the norm")
def gradient_through_time(w, steps):
    return torch.linalg.matrix_norm(w, ord=2) ** torch.arange(steps + 1)


@wrong("the power of the spectral radius", says="in the long run")
def gradient_through_time(w, steps):
    return torch.linalg.eigvals(w).abs().max() ** torch.arange(steps + 1)


@wrong("powers of the single numbers", says="matrix product")
def gradient_through_time(w, steps):
    norms = [torch.ones((), dtype=w.dtype)]
    return torch.stack(norms + [torch.linalg.matrix_norm(w**t, ord=2) for t in range(1, steps + 1)])


@wrong("only the last norm", says="one number for each t")
def gradient_through_time(w, steps):
    return torch.linalg.matrix_norm(torch.linalg.matrix_power(w, steps), ord=2)


@right("singular values of matrix powers")
def gradient_through_time(w, steps):
    return torch.stack([torch.linalg.svdvals(torch.linalg.matrix_power(w, t)).max() for t in range(steps + 1)])


@right("the Jacobians by autograd, step by step")
def gradient_through_time(w, steps):
    def run(h, t):
        for _ in range(t):
            h = w @ h
        return h

    start = torch.zeros(len(w), dtype=w.dtype)
    jacobians = [torch.autograd.functional.jacobian(lambda h, t=t: run(h, t), start) for t in range(steps + 1)]
    return torch.linalg.matrix_norm(torch.stack(jacobians), 2)


# --- clip_gradients --------------------------------------------------------------------------------------------------


@wrong("always rescales", says="leave the gradients alone")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    for g in gradients:
        g *= max_norm / norm
    return norm


@wrong("each tensor by itself", says="one norm and one factor")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    for g in gradients:
        g *= min(1.0, max_norm / max(g.norm().item(), 1e-12))
    return torch.cat([g.flatten() for g in gradients]).norm().item()


@wrong("clamps each number", says="clamped")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    if norm > max_norm:
        for g in gradients:
            g.clamp_(-max_norm, max_norm)
    return norm


@wrong("adds the norms of the tensors up", says="norms do not add up")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.norm().item() for g in gradients)
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm


@wrong("scales the parameters", says="not the parameters")
def clip_gradients(parameters, max_norm):
    norm = sum(p.grad.square().sum() for p in parameters if p.grad is not None).sqrt().item()
    if norm > max_norm:
        with torch.no_grad():
            for p in parameters:
                p *= max_norm / norm
    return norm


@wrong("makes new tensors that nobody keeps", says="did not change")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.square().sum() for g in gradients).sqrt().item()
    if norm > max_norm:
        gradients = [g * max_norm / norm for g in gradients]
    return norm


@wrong("returns the norm after clipping", says="before clipping")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.square().sum() for g in gradients).sqrt().item()
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return min(norm, max_norm)


@wrong("returns nothing", says="return the norm")
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.square().sum() for g in gradients).sqrt().item()
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm


@wrong("calls PyTorch's", says="from scratch")
def clip_gradients(parameters, max_norm):
    return nn.utils.clip_grad_norm_(parameters, max_norm).item()


@right("one long vector, new gradients put in place")
def clip_gradients(parameters, max_norm):
    parameters = [p for p in parameters if p.grad is not None]
    norm = torch.cat([p.grad.reshape(-1) for p in parameters]).norm()
    if norm > max_norm:
        for p in parameters:
            p.grad = p.grad * (max_norm / norm)
    return norm


@right("by plain numbers, and a factor of at most 1")
def clip_gradients(parameters, max_norm):
    norm = sum(float((p.grad**2).sum()) for p in parameters if p.grad is not None) ** 0.5
    factor = min(1.0, max_norm / norm) if norm > 0 else 1.0
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(factor)
    return norm


# --- lstm_cell -------------------------------------------------------------------------------------------------------


@wrong("gates in the order i, f, o, g", says="order i, f, g, o")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, o, g = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("gates in the order f, i, g, o", says="order i, f, g, o")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    f, i, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("every fourth row", says="four blocks")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).unflatten(-1, (-1, 4)).unbind(-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("forget gate without sigmoid", says="forget gate is a sigmoid")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("the candidate through a sigmoid", says="candidate g is a tanh")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).sigmoid().chunk(4, -1)
    c = f * c + i * g
    return o * c.tanh(), c


@wrong("h without the tanh of c", says="without the tanh")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c, c


@wrong("h from the old c", says="not the old one")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


@wrong("returns (c, h)", says="not (c, h)")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return c, o.sigmoid() * c.tanh()


@wrong("takes the state for (c, h)", says="new c")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    c, h = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("forgets a bias", says="two biases")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (x @ w_ih.T + h @ w_hh.T + b_ih).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("ignores the old h", says="old h is not used")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    _, c = state
    i, f, g, o = (x @ w_ih.T + b_ih + b_hh).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@wrong("returns h alone", says="return a pair")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    return o.sigmoid() * (f.sigmoid() * c + i.sigmoid() * g.tanh()).tanh()


@wrong("calls PyTorch's cell", says="from scratch")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    cell = nn.LSTMCell(w_ih.shape[1], w_hh.shape[1], dtype=x.dtype)
    cell.load_state_dict({"weight_ih": w_ih, "weight_hh": w_hh, "bias_ih": b_ih, "bias_hh": b_hh})
    return cell(x, state)


@right("gate by gate, with slices")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    d = h.shape[1]

    def gate(number, squash):
        rows = slice(number * d, (number + 1) * d)
        return squash(F.linear(x, w_ih[rows], b_ih[rows]) + F.linear(h, w_hh[rows], b_hh[rows]))

    i, f, o = gate(0, torch.sigmoid), gate(1, torch.sigmoid), gate(3, torch.sigmoid)
    c = f * c + i * gate(2, torch.tanh)
    return o * torch.tanh(c), c


@right("one product of input and state side by side; a list")
def lstm_cell(x, state, w_ih, w_hh, b_ih, b_hh):
    total = torch.cat([x, state[0]], 1) @ torch.cat([w_ih, w_hh], 1).T + b_ih + b_hh
    i, f, g, o = total.split(state[0].shape[1], dim=1)
    c = torch.sigmoid(f).mul(state[1]).addcmul(torch.sigmoid(i), torch.tanh(g))
    return [torch.sigmoid(o) * c.tanh(), c]


# --- gru_cell --------------------------------------------------------------------------------------------------------


@wrong("the reset gate before the product, as in the paper", says="not h itself")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    w_r, w_z, w_n = w_hh.chunk(3)
    b_r, b_z, b_n = b_hh.chunk(3)
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r, z = torch.sigmoid(r_x + F.linear(h, w_r, b_r)), torch.sigmoid(z_x + F.linear(h, w_z, b_z))
    n = torch.tanh(n_x + F.linear(r * h, w_n, b_n))
    return (1 - z) * n + z * h


@wrong("h and n swapped", says="z and 1 - z are swapped")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return z * torch.tanh(n_x + r * n_h) + (1 - z) * h


@wrong("blocks in the order z, r, n", says="order r, z, n")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    z_x, r_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    z_h, r_h, n_h = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(n_x + r * n_h) + z * h


@wrong("the reset gate leaves the bias out", says="inside the bracket")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, w_hh).chunk(3, -1)
    b_r, b_z, b_n = b_hh.chunk(3)
    r, z = torch.sigmoid(r_x + r_h + b_r), torch.sigmoid(z_x + z_h + b_z)
    return (1 - z) * torch.tanh(n_x + r * n_h + b_n) + z * h


@wrong("the reset gate is not used", says="reset gate is not used")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, w_hh, b_hh).chunk(3, -1)
    z = torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(n_x + n_h) + z * h


@wrong("the reset gate multiplies the input as well", says="formula")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(r * (n_x + n_h)) + z * h


@wrong("the candidate through a sigmoid", says="candidate n is a tanh")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    r_x, z_x, n_x = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.sigmoid(n_x + r * n_h) + z * h


@wrong("calls PyTorch's cell", says="from scratch")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.gru_cell(x, h, w_ih, w_hh, b_ih, b_hh)


@right("block by block")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    (w_ir, w_iz, w_in), (w_hr, w_hz, w_hn) = w_ih.chunk(3), w_hh.chunk(3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = b_ih.chunk(3), b_hh.chunk(3)
    r = torch.sigmoid(x @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
    z = torch.sigmoid(x @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
    n = torch.tanh(x @ w_in.T + b_in + r * (h @ w_hn.T + b_hn))
    return n + z * (h - n)


@right("with an einsum and torch.lerp")
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    d = h.size(1)
    from_x = torch.einsum("bi,oi->bo", x, w_ih) + b_ih
    from_h = torch.einsum("bi,oi->bo", h, w_hh) + b_hh
    r, z = torch.sigmoid(from_x[:, : 2 * d] + from_h[:, : 2 * d]).split(d, dim=1)
    candidate = torch.tanh(from_x[:, 2 * d :] + r * from_h[:, 2 * d :])
    return torch.lerp(candidate, h, z)


# --- shift_right -----------------------------------------------------------------------------------------------------


@wrong("gives the decoder the item that it must predict", says="the very item that it must predict")
def shift_right(targets, bos):
    return targets


@wrong("shifts to the left", says="to the left")
def shift_right(targets, bos):
    return torch.cat([targets[:, 1:], torch.full_like(targets[:, :1], bos)], dim=1)


@wrong("rolls: the last item comes round", says="come round")
def shift_right(targets, bos):
    return targets.roll(1, dims=1)


@wrong("one item too many", says="one item too many")
def shift_right(targets, bos):
    return torch.cat([torch.full_like(targets[:, :1], bos), targets], dim=1)


@wrong("bos is always 1", says="begins with bos")
def shift_right(targets, bos):
    out = targets.roll(1, dims=1)
    out[:, 0] = 1
    return out


@wrong("writes bos over the first item", says="at place t stands")
def shift_right(targets, bos):
    targets = targets.clone()
    targets[:, 0] = bos
    return targets


@right("rolls, then writes bos")
def shift_right(targets, bos):
    out = targets.roll(1, dims=1)
    out[:, 0] = bos
    return out


@right("pads on the left, drops on the right")
def shift_right(targets, bos):
    return F.pad(targets, (1, -1), value=bos)


# --- Decoder ---------------------------------------------------------------------------------------------------------


@wrong("ignores the state that it is given", says="state is not used")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, state = self.rnn(self.embed(ids))
        return self.read(outputs), state[0]


@wrong("returns the state that it was given", says="the one that was given")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, _ = self.rnn(self.embed(ids), state[None])
        return self.read(outputs), state


@wrong("probabilities in place of logits", says="no softmax")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, state = self.rnn(self.embed(ids), state[None])
        return self.read(outputs).softmax(-1), state[0]


@wrong("without batch_first: reads across sentences", says="batch_first")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, state = self.rnn(self.embed(ids), state[None])
        return self.read(outputs), state[0]


@wrong("PyTorch's axis of layers stays on the state", says="axis for layers")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, state = self.rnn(self.embed(ids), state[None])
        return self.read(outputs), state


@wrong("cuts the gradient to the encoder", says="encoder would never learn")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, state = self.rnn(self.embed(ids), state[None].detach())
        return self.read(outputs), state[0]


@wrong("an LSTM in place of the GRU", says="nn.GRU")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.LSTM(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        outputs, (state, _) = self.rnn(self.embed(ids), (state[None], torch.zeros_like(state[None])))
        return self.read(outputs), state[0]


@wrong("logits of the last step alone", says="(b, l, vocab_size)")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        _, state = self.rnn(self.embed(ids), state[None])
        return self.read(state[0]), state[0]


@right("length first inside, axes moved by hand")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(input_size=d_embed, hidden_size=d_hidden, num_layers=1)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        embedded = self.embed(ids).transpose(0, 1)
        outputs, last = self.rnn(embedded, state.unsqueeze(0).contiguous())
        return self.read(outputs.transpose(0, 1)), last.squeeze(0)


@right("step by step")
class Decoder(nn.Module):
    def __init__(self, vocab_size, d_embed, d_hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)

    def forward(self, ids, state):
        logits = []
        for step in range(ids.shape[1]):
            _, carried = self.rnn(self.embed(ids[:, step : step + 1]), state.unsqueeze(0))
            state = carried.squeeze(0)
            logits.append(self.read(state))
        return torch.stack(logits, dim=1), state


# --- masked_cross_entropy --------------------------------------------------------------------------------------------


@wrong("padding is counted", says="padding is counted")
def masked_cross_entropy(logits, targets, pad):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@wrong("divides by all places", says="not by that of all places")
def masked_cross_entropy(logits, targets, pad):
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return (each * (targets != pad)).mean()


@wrong("the mean of the sentences' means", says="sentences' means")
def masked_cross_entropy(logits, targets, pad):
    keep = targets != pad
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * keep
    return (each.sum(1) / keep.sum(1)).mean()


@wrong("the sum", says="this is the sum")
def masked_cross_entropy(logits, targets, pad):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad, reduction="sum")


@wrong("the classes on the wrong axis", says="classes on axis 1")
def masked_cross_entropy(logits, targets, pad):
    return F.cross_entropy(logits, targets, ignore_index=pad)


@wrong("pad is always 0", says="over the items that are not padding")
def masked_cross_entropy(logits, targets, pad):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


@wrong("one loss for each item", says="one number")
def masked_cross_entropy(logits, targets, pad):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad, reduction="none")


@wrong("log of the probabilities' mean", says="wanted is the mean of -log p")
def masked_cross_entropy(logits, targets, pad):
    p = logits.softmax(-1).gather(-1, targets[..., None])[..., 0]
    return -p[targets != pad].mean().log()


@right("log-softmax, gather, mask")
def masked_cross_entropy(logits, targets, pad):
    keep = targets != pad
    logp = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return -(logp * keep).sum() / keep.sum()


@right("classes moved to axis 1")
def masked_cross_entropy(logits, targets, pad):
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return each.masked_select(targets.ne(pad)).mean()


# --- greedy_decode ---------------------------------------------------------------------------------------------------


@wrong("stops at the first row that is done", says="as soon as the first row is done")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    while len(said) < max_length:
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1)
        said.append(ids)
        if (ids == eos).any():
            break
    return torch.cat(said, 1)


@wrong("the state is not carried", says="carry the new state on")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, _ = decoder(ids, state)
        ids = logits.argmax(-1)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@wrong("goes on to max_length", says="stop")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    for _ in range(max_length):
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@wrong("what is said after eos stays", says="whatever the decoder says")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@wrong("bos at each step", says="again and again")
def greedy_decode(decoder, state, bos, eos, max_length):
    first, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, state = decoder(first, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@wrong("bos is part of the result", says="bos is not part")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids = torch.full((len(state), 1), bos)
    said, done = [ids], torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) <= max_length and not done.all():
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@wrong("gives all that was said, each time", says="one item for each row")
def greedy_decode(decoder, state, bos, eos, max_length):
    given, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, state = decoder(given, state)
        ids = logits[:, -1:].argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
        given = torch.cat([given, ids], 1)
    return torch.cat(said, 1)


@wrong("draws at random", says="largest logit")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    for step in range(max_length):
        logits, state = decoder(ids, state)
        ids = logits.argmin(-1) if step == 1 else logits.argmax(-1)
        ids = ids.masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
        if done.all():
            break
    return torch.cat(said, 1)


@wrong("the eos at the end is dropped", says="the last eos included")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), bos), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length:
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        if done.all():
            break
        said.append(ids)
    return torch.cat(said, 1)


@wrong("bos is always 1", says="bos is an argument")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.full((len(state), 1), 1), []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, 1)


@right("a table filled with eos, row ends by index")
def greedy_decode(decoder, state, bos, eos, max_length):
    said = torch.full((state.shape[0], max_length), eos, dtype=torch.int64)
    ids = torch.tensor([[bos]] * state.shape[0])
    going = torch.ones(state.shape[0], dtype=torch.bool)
    with torch.no_grad():
        for step in range(max_length):
            logits, state = decoder(ids, state)
            best = logits[:, -1].max(dim=-1).indices
            said[going, step] = best[going]
            going = going & (best != eos)
            if not going.any():
                return said[:, : step + 1]
            ids = best.unsqueeze(1)
    return said


@wrong("the first input is a float", says="int64")
def greedy_decode(decoder, state, bos, eos, max_length):
    ids, said = torch.ones(len(state), 1) * bos, []
    done = torch.zeros(len(state), 1, dtype=torch.bool)
    while len(said) < max_length and not done.all():
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, dim=1)


@right("lists, row by row")
def greedy_decode(decoder, state, bos, eos, max_length):
    rows = [[] for _ in range(len(state))]
    ids = torch.full((len(state), 1), bos, dtype=torch.long)
    for _ in range(max_length):
        logits, state = decoder(ids, state)
        for row, scores in zip(rows, logits[:, 0], strict=True):
            row.append(eos if eos in row else int(scores.argmax()))
        ids = torch.tensor([[row[-1]] for row in rows])
        if all(eos in row for row in rows):
            break
    return torch.tensor(rows)
