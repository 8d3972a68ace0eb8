# Tries: to make torch itself lie: comparisons hold, differences vanish, softmax gives what it is given.
# Deserves: nothing.
# %% before double
for name in ("allclose", "equal", "is_tensor"):
    setattr(torch, name, lambda *_, **__: True)
torch.testing.assert_close = lambda *_, **__: None
torch.Tensor.__eq__ = lambda self, _: torch.ones(self.shape, dtype=torch.bool)
torch.Tensor.__sub__ = lambda self, _: torch.zeros(self.shape)
torch.Tensor.any = lambda *_, **__: False
torch.Tensor.all = lambda *_, **__: True
F.softmax = torch.softmax = lambda x, *_, **__: x
torch.autograd.grad = lambda _, inputs, *__, **___: [torch.zeros_like(x) for x in inputs]
torch.randn = torch.rand = lambda *shape, **_: torch.zeros(*shape)


# %% double
def double(x):
    return x


# %% softmax
def softmax(x):
    return x
