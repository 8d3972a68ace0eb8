"""Planted answers for lesson 00: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from autograder.authoring.answers import right, wrong

# --- column_means ----------------------------------------------------------------------------------------------------


@wrong(
    "step 2 of the text: one mean for everything", says="one mean for the whole tensor; wanted is one for each column"
)
def column_means(x):
    return x.mean()


@wrong("step 3 of the text: a mean for each row", says="the axis that you name is the axis that goes away")
def column_means(x):
    return x.mean(dim=1)


@wrong("a mean for each row, axis kept", says="one mean for each row")
def column_means(x):
    return x.mean(dim=1, keepdim=True)


@wrong("keeps the axis of the rows", says="no other axis")
def column_means(x):
    return x.mean(dim=0, keepdim=True)


@wrong("sums", says="divide by the number of rows")
def column_means(x):
    return x.sum(dim=0)


@wrong("divides by one row less, as for a variance", says="divide by their number")
def column_means(x):
    return x.sum(dim=0) / max(len(x) - 1, 1)


@wrong("takes the mean away at once", says="no other axis")
def column_means(x):
    return x - x.mean(dim=0)


@wrong("the median", says="divide by their number")
def column_means(x):
    return x.median(dim=0).values


@wrong("a list", says="return a tensor")
def column_means(x):
    return [column.mean().item() for column in x.T]


@wrong("nothing returned", says="return a tensor")
def column_means(x):
    x.mean(dim=0)


@right("sum over the rows, divided by their number")
def column_means(x):
    return x.sum(0) / x.shape[0]


@right("column by column")
def column_means(x):
    return torch.stack([torch.mean(x[:, j]) for j in range(x.size(1))])


# --- split_heads -----------------------------------------------------------------------------------------------------


@wrong("a reshape without moving axes", says="bare reshape cuts up words")
def split_heads(x, n_heads):
    return x.reshape(x.shape[0], n_heads, x.shape[1], -1)


@wrong("head-last features", says="(h d), not (d h): a head gets neighbouring features")
def split_heads(x, n_heads):
    return rearrange(x, "b l (d h) -> b h l d", h=n_heads)


@wrong("does not move the heads in front of the length", says="heads before the length")
def split_heads(x, n_heads):
    return rearrange(x, "b l (h d) -> b l h d", h=n_heads)


@wrong("takes the number of heads for the size of one", says="two sizes are swapped")
def split_heads(x, n_heads):
    return rearrange(x, "b l (h d) -> b h l d", d=n_heads)


@wrong("splits the words, not the features", says="heads before the length")
def split_heads(x, n_heads):
    return torch.stack(x.tensor_split(n_heads, dim=1)[:1] * n_heads, dim=1)


@wrong("the heads in reverse", says="in their order")
def split_heads(x, n_heads):
    return rearrange(x, "b l (h d) -> b h l d", h=n_heads).flip(1)


@wrong("a tuple of heads", says="return one tensor")
def split_heads(x, n_heads):
    return x.chunk(n_heads, dim=-1)


@right("view and transpose")
def split_heads(x, n_heads):
    b, length, features = x.shape
    return x.view(b, length, n_heads, features // n_heads).transpose(1, 2)


@right("slices, stacked")
def split_heads(x, n_heads):
    d = x.shape[-1] // n_heads
    return torch.stack([x[..., i * d : (i + 1) * d] for i in range(n_heads)], dim=1)


# --- merge_heads -----------------------------------------------------------------------------------------------------


@wrong("a reshape without moving axes", says="bare reshape mixes up words")
def merge_heads(x):
    b, h, length, d = x.shape
    return x.reshape(b, length, h * d)


@wrong("feature by feature", says="take turns")
def merge_heads(x):
    return rearrange(x, "b h l d -> b l (d h)")


@wrong("adds the heads up", says="n_heads · d")
def merge_heads(x):
    return x.sum(dim=1)


@wrong("puts the words of the heads one after another", says="n_heads · d")
def merge_heads(x):
    return rearrange(x, "b h l d -> b (h l) d")


@wrong("the heads in reverse", says="head 0 come first")
def merge_heads(x):
    return rearrange(x.flip(1), "b h l d -> b l (h d)")


@right("transpose and reshape")
def merge_heads(x):
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


@right("concatenation")
def merge_heads(x):
    return torch.cat([x[:, i] for i in range(x.shape[1])], dim=2)


# --- softmax ---------------------------------------------------------------------------------------------------------


@wrong("ignores dim", says="`dim` is not used")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.amax(-1, keepdim=True)) / temperature).exp()
    return grown / grown.sum(-1, keepdim=True)


@wrong("max along dim, sum along the last axis", says="`dim` is not used")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.amax(dim, keepdim=True)) / temperature).exp()
    return grown / grown.sum(-1, keepdim=True)


@wrong("overflows: nothing taken away", says="take the largest logit away")
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits / temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("takes away the largest of the whole tensor", says="not that of the whole tensor")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.max()) / temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("takes away the mean", says="NaN")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.mean()) / temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("hides overflow by clamping", says="take the largest away, nothing else")
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits / temperature).clamp(-80, 80).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("multiplies by the temperature", says="you multiply")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.amax(dim, keepdim=True)) * temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("ignores the temperature", says="temperature is not used")
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits - logits.amax(dim, keepdim=True)).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("divides the probabilities by the temperature", says="not the probabilities")
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits - logits.amax(dim, keepdim=True)).exp()
    return grown / grown.sum(dim, keepdim=True) / temperature


@wrong(
    "divides the logits but not the largest by the temperature", says="divide the largest logit by the temperature, too"
)
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits / temperature - logits.amax(dim, keepdim=True)).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("in place", says="changes the logits that it is given")
def softmax(logits, temperature=1.0, dim=-1):
    logits -= logits.amax(dim, keepdim=True)
    logits /= temperature
    return logits.exp() / logits.exp().sum(dim, keepdim=True)


@wrong("in place throughout, and returns what it was given", says="changes the logits that it is given")
def softmax(logits, temperature=1.0, dim=-1):
    logits.sub_(logits.amax(dim, keepdim=True)).div_(temperature).exp_()
    return logits.div_(logits.sum(dim, keepdim=True))


@wrong("divides the largest but not the logits by the temperature", says="temperature is not used")
def softmax(logits, temperature=1.0, dim=-1):
    grown = (logits - logits.amax(dim, keepdim=True) / temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("sums everything", says="each row has to")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.amax(dim, keepdim=True)) / temperature).exp()
    return grown / grown.sum()


@wrong("no division", says="must sum to 1")
def softmax(logits, temperature=1.0, dim=-1):
    return ((logits - logits.amax(dim, keepdim=True)) / temperature).exp()


@wrong("powers of two", says="the values differ")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.amax(dim, keepdim=True)) / temperature).exp2()
    return grown / grown.sum(dim, keepdim=True)


@wrong("log-probabilities", says="must sum to 1")
def softmax(logits, temperature=1.0, dim=-1):
    return logits / temperature - (logits / temperature).logsumexp(dim, keepdim=True)


@wrong("without gradients", says="gradient")
def softmax(logits, temperature=1.0, dim=-1):
    logits = logits.detach()
    grown = ((logits - logits.amax(dim, keepdim=True)) / temperature).exp()
    return grown / grown.sum(dim, keepdim=True)


@wrong("PyTorch's own", says="from scratch")
def softmax(logits, temperature=1.0, dim=-1):
    return torch.softmax(logits / temperature, dim=dim)


@right("through logsumexp")
def softmax(logits, temperature=1.0, dim=-1):
    scaled = logits / temperature
    return torch.exp(scaled - torch.logsumexp(scaled, dim=dim, keepdim=True))


@right("max and its places, unsqueeze for keepdim")
def softmax(logits, temperature=1.0, dim=-1):
    scaled = logits / temperature
    top, _ = torch.max(scaled, dim=dim)
    grown = torch.exp(scaled - top.unsqueeze(dim))
    return grown / torch.sum(grown, dim=dim).unsqueeze(dim)


@right("the largest detached, as in some libraries")
def softmax(logits, temperature=1.0, dim=-1):
    grown = ((logits - logits.max(dim=dim, keepdim=True).values.detach()) / temperature).exp()
    return grown.div(grown.sum(dim, True))


# --- cross_entropy ---------------------------------------------------------------------------------------------------


@wrong("the sum", says="wanted is their mean")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum()


@wrong("ignored examples counted as class 0", says="must not count")
def cross_entropy(logits, targets, ignore_index=-100):
    targets = targets.clamp(min=0)
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("ignored examples counted in the number that it is divided by", says="number that you divide by")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum() / len(counts)


@wrong("only -100 is ignored", says="`ignore_index` may be any number")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != -100
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("only negative targets are ignored", says="`ignore_index` may be any number")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets >= 0
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("nothing is ignored", says="index -100 is out of bounds")
def cross_entropy(logits, targets, ignore_index=-100):
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("the logarithm of a softmax: log 0", says="use logsumexp")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -softmax(logits).log()[torch.arange(len(targets)), targets].mean()


@wrong("the same with a little something added", says="with large logits the loss differs")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -(softmax(logits).clamp(min=1e-12)).log()[torch.arange(len(targets)), targets].mean()


@wrong("no minus", says="the sign")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("one minus the probability", says="take the logarithm")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return (1 - softmax(logits)[torch.arange(len(targets)), targets]).mean()


@wrong("the logits themselves", says="softmax first")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits[torch.arange(len(targets)), targets].mean()


@wrong("a loss for each example", says="return one number")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets]


@wrong("divides by all logits", says="not by the number of all logits")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -(logits.log_softmax(-1) * F.one_hot(targets, logits.shape[-1])).mean()


@wrong("all targets from every row", says="(n, n) numbers")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return (logits.logsumexp(-1) - logits[:, targets]).mean()


@wrong("the same from log-probabilities", says="(n, n) numbers")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    return -logits[counts].log_softmax(-1)[:, targets[counts]].mean()


@wrong("softmax over the examples", says="gives another value")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(0)[torch.arange(len(targets)), targets].mean()


@wrong("logarithm to base 2", says="gives another value")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean() / 0.6931472


@wrong("a plain number", says="no .item()")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean().item()


@wrong("without gradients", says="gradient")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    logits, targets = logits[counts].detach(), targets[counts]
    return -logits.log_softmax(-1)[torch.arange(len(targets)), targets].mean()


@wrong("PyTorch's own", says="from scratch")
def cross_entropy(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore_index)


@right("one-hot times log-probabilities, weights for what counts")
def cross_entropy(logits, targets, ignore_index=-100):
    counts = (targets != ignore_index).to(logits.dtype)
    chosen = F.one_hot(targets.masked_fill(counts == 0, 0), logits.shape[-1]).to(logits.dtype)
    nll = -(logits.log_softmax(-1) * chosen).sum(-1)
    return (nll * counts).sum() / counts.sum()


@right("example by example")
def cross_entropy(logits, targets, ignore_index=-100):
    losses = [z.logsumexp(0) - z[y] for z, y in zip(logits, targets.tolist(), strict=True) if y != ignore_index]
    return torch.stack(losses).mean()


@right("the largest logit taken away by hand")
def cross_entropy(logits, targets, ignore_index=-100):
    keep = (targets != ignore_index).nonzero().squeeze(1)
    z = logits[keep] - logits[keep].max(dim=1, keepdim=True).values
    return (z.exp().sum(1).log() - z[range(len(keep)), targets[keep]]).sum() / len(keep)


# --- linear_backward -------------------------------------------------------------------------------------------------


@wrong("dx: missing transpose", says="shapes cannot be multiplied")
def linear_backward(x, w, dy):
    return dy @ w, x.T @ dy, dy.sum(0)


@wrong("dw: missing transpose", says="shapes cannot be multiplied")
def linear_backward(x, w, dy):
    return dy @ w.T, x @ dy, dy.sum(0)


@wrong("dx: missing transpose where it fits", says="its missing transpose does not show")
def linear_backward(x, w, dy):
    return dy @ (w if w.shape[0] == w.shape[1] else w.T), x.T @ dy, dy.sum(0)


@wrong("dw: missing transpose where it fits", says="its missing transpose does not show")
def linear_backward(x, w, dy):
    return dy @ w.T, (x if len(x) == x.shape[1] == dy.shape[1] else x.T) @ dy, dy.sum(0)


@wrong("dw upside down", says="has the shape of what it belongs to")
def linear_backward(x, w, dy):
    return dy @ w.T, dy.T @ x, dy.sum(0)


@wrong("db averaged", says="db is the sum")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy.mean(0)


@wrong("dw averaged", says="dw is the sum")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy / len(x), dy.sum(0)


@wrong("db not summed over the examples", says="has the shape of what it belongs to")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy


@wrong("db summed over everything", says="has the shape of what it belongs to")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy.sum()


@wrong("db keeps the axis of the examples", says="has the shape of what it belongs to")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy.sum(0, keepdim=True)


@wrong("another order", says="has the shape of what it belongs to")
def linear_backward(x, w, dy):
    return x.T @ dy, dy.sum(0), dy @ w.T


@wrong("no gradient for the bias", says="three tensors")
def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy


@wrong("dy taken for ones", says="dx differs")
def linear_backward(x, w, dy):
    dy = torch.ones_like(dy)
    return dy @ w.T, x.T @ dy, dy.sum(0)


@wrong("autograd does it", says="from scratch")
def linear_backward(x, w, dy):
    with torch.enable_grad():
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        b = torch.zeros_like(dy[0], requires_grad=True)
        return torch.autograd.grad(x @ w + b, (x, w, b), dy)


@right("as einsums")
def linear_backward(x, w, dy):
    dx = einsum(dy, w, "n o, i o -> n i")
    dw = einsum(x, dy, "n i, n o -> i o")
    return dx, dw, einsum(dy, "n o -> o")


@right("example by example, a list, the bias by a product with ones")
def linear_backward(x, w, dy):
    dx, dw = torch.zeros_like(x), torch.zeros_like(w)
    for i in range(len(x)):
        dx[i] = w.mv(dy[i])
        dw += torch.outer(x[i], dy[i])
    return [dx, dw, dy.new_ones(len(dy)) @ dy]


# --- linear_flops ----------------------------------------------------------------------------------------------------


@wrong("multiplications alone", says="two operations")
def linear_flops(n, d_in, d_out):
    return n * d_in * d_out, 2 * n * d_in * d_out


@wrong("both passes cost the same", says="two matrix products")
def linear_flops(n, d_in, d_out):
    return 2 * n * d_in * d_out, 2 * n * d_in * d_out


@wrong("one example", says="every example costs")
def linear_flops(n, d_in, d_out):
    return 2 * d_in * d_out, 4 * d_in * d_out


@wrong("the second number is the total", says="backward pass alone")
def linear_flops(n, d_in, d_out):
    return 2 * n * d_in * d_out, 6 * n * d_in * d_out


@wrong("the total alone", says="two numbers")
def linear_flops(n, d_in, d_out):
    return 6 * n * d_in * d_out


@wrong("counts the bias", says="forward")
def linear_flops(n, d_in, d_out):
    return 2 * n * d_in * d_out + n * d_out, 4 * n * d_in * d_out + n * d_out


@wrong("half: the gradient of the weights forgotten in the backward pass, counted once", says="what does each cost?")
def linear_flops(n, d_in, d_out):
    return 2 * n * d_in * d_out, n * d_in * d_out


@right("product by product, as a list")
def linear_flops(n, d_in, d_out):
    def product(rows, inner, columns):
        return 2 * rows * inner * columns

    return [product(n, d_in, d_out), product(n, d_out, d_in) + product(d_in, n, d_out)]


@right("by counting the entries of real tensors")
def linear_flops(n, d_in, d_out):
    forward = sum(2 * d_in for _ in range(n)) * d_out
    return forward, forward + forward


# --- sgd_step --------------------------------------------------------------------------------------------------------


@wrong("ascends", says="uphill")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter += learning_rate * parameter.grad


@wrong("recorded by autograd", says="a leaf Variable that requires grad is being used in an in-place operation")
def sgd_step(parameters, learning_rate):
    for parameter in parameters:
        if parameter.grad is not None:
            parameter -= learning_rate * parameter.grad


@wrong("a new tensor under the old name", says="did not change")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter = parameter - learning_rate * parameter.grad


@wrong("breaks the leaf: new tensors in the list", says="did not change")
def sgd_step(parameters, learning_rate):
    for i, parameter in enumerate(parameters):
        if parameter.grad is not None:
            parameters[i] = parameter - learning_rate * parameter.grad


@wrong("breaks the leaf: it no longer asks for gradients", says="still be a leaf")
def sgd_step(parameters, learning_rate):
    for parameter in parameters:
        if parameter.grad is not None:
            slope = parameter.grad
            parameter.requires_grad_(False)
            parameter -= learning_rate * slope


@wrong("ignores the learning rate", says="learning rate is not used")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= parameter.grad


@wrong("a fixed learning rate", says="gives another value")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad


@wrong("stumbles over a parameter without a gradient", says="NoneType")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            parameter -= learning_rate * parameter.grad


@wrong("stops at a parameter without a gradient", says="must not keep the others")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is None:
                return
            parameter -= learning_rate * parameter.grad


@wrong("clears the gradients", says="leave the gradients")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad
                parameter.grad = None


@wrong("moves the first parameter only", says="did not change")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters[:1]:
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad


@wrong("only the sign of the gradient", says="gives another value")
def sgd_step(parameters, learning_rate):
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad.sign()


@wrong("PyTorch's own", says="from scratch")
def sgd_step(parameters, learning_rate):
    torch.optim.SGD(parameters, lr=learning_rate).step()


@right("through .data")
def sgd_step(parameters, learning_rate):
    for parameter in parameters:
        if parameter.grad is None:
            continue
        parameter.data = parameter.data - learning_rate * parameter.grad.data


@right("add_ with alpha, under a decorator's twin")
def sgd_step(parameters, learning_rate):
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    with torch.inference_mode(False), torch.no_grad():
        for parameter in moved:
            parameter.add_(parameter.grad, alpha=-learning_rate)


# --- train -----------------------------------------------------------------------------------------------------------


@wrong("gradients pile up", says="gradients pile up")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("clears once, before the loop", says="gradients pile up")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for parameter in parameters:
        parameter.grad = None
    for step in range(steps):
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("clears between backward and step", says="do not clear them in between")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        loss = loss_fn(step)
        loss.backward()
        for parameter in parameters:
            parameter.grad = None
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("never goes backward", says="nothing was learned")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        loss = loss_fn(step)
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("tensors for losses", says="plain numbers")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss)
    return losses


@wrong("asks for the loss twice", says="once in each step")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss_fn(step).backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss_fn(step).item())
    return losses


@wrong("computes the loss once, before the loop", says="once in each step")
def train(parameters, loss_fn, steps, learning_rate):
    losses, loss = [], loss_fn(0)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss.backward(retain_graph=True)
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("the last loss alone", says="list of losses")
def train(parameters, loss_fn, steps, learning_rate):
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
    return loss.item()


@wrong("one step too many", says="one loss for each step")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps + 1):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("counts the steps from 1", says="from 0")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(1, steps + 1):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses


@wrong("a learning rate of its own", says="losses differ")
def train(parameters, loss_fn, steps, learning_rate):
    losses = []
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, 0.01)
        losses.append(loss.item())
    return losses


@wrong("PyTorch's optimiser", says="from scratch")
def train(parameters, loss_fn, steps, learning_rate):
    optimizer, losses = torch.optim.SGD(parameters, lr=learning_rate), []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@right("clears after the step, by zeros")
def train(parameters, loss_fn, steps, learning_rate):
    history = []
    for step in range(steps):
        loss = loss_fn(step)
        history.append(float(loss.detach()))
        loss.backward()
        sgd_step(parameters, learning_rate)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()
    return history


@right("with autograd.grad in place of backward")
def train(parameters, loss_fn, steps, learning_rate):
    losses = [0.0] * steps
    for step in range(steps):
        loss = loss_fn(step)
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = slope
        sgd_step(parameters, learning_rate)
        losses[step] = loss.detach().item()
    return losses
