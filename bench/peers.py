"""What the benchmarks of lesson 07 share: its GPT, and a Hugging Face GPT-2 of the same size with the same weights."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
from pathlib import Path

from torch import nn

LESSON = Path(__file__).resolve().parents[1] / "solutions" / "07_gpt" / "07_gpt.py"


def lesson_gpt() -> dict:
    """Every name that lesson 07 defines, after it ran at smoke scale."""
    os.environ |= {"COURSE_SCALE": "smoke", "COURSE_PLOTS": "off"}
    with contextlib.redirect_stdout(io.StringIO()):
        return runpy.run_path(str(LESSON))


def hugging_face(*, vocab_size: int, context: int, d_model: int, n_layers: int, n_heads: int) -> nn.Module:
    """Its GPT2LMHeadModel, without dropout and with no end of text, so that every contender does the same work."""
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=context, n_embd=d_model, n_layer=n_layers, n_head=n_heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None, loss_type="ForCausalLM",
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def twin(names: dict, theirs: nn.Module, **sizes: int) -> nn.Module:
    """The lesson's GPT with the weights of `theirs`, copied by the lesson's own `load_gpt2`."""
    ours = names["GPT"](**sizes)
    names["load_gpt2"](ours, theirs.state_dict())
    return ours
