"""Start a lesson: seeds, device, scale."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from utils.checks import start_lesson

__all__ = ["pick", "scale", "setup"]

SCALES = ("smoke", "cpu", "gpu")


def scale() -> str:
    """The size at which the lesson runs: ``"smoke"`` (tests, seconds), ``"cpu"`` (a laptop, minutes) or ``"gpu"``.

    COURSE_SCALE in the environment decides; without it, ``"gpu"`` where CUDA is and ``"cpu"`` elsewhere.
    """
    chosen = os.environ.get("COURSE_SCALE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if chosen not in SCALES:
        raise ValueError(f"COURSE_SCALE is {chosen!r}, but must be one of {', '.join(SCALES)}")
    return chosen


def pick(*, smoke, cpu, gpu):
    """The value for the current `scale`; the same cells run at every scale, only numbers change."""
    return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[scale()]


def setup(lesson: str, seed: int = 0) -> torch.device:
    """Seed every random generator, choose the device (CUDA, else MPS, else CPU), say which in one line.

    `lesson` is the folder's name, such as ``"04_self_attention"``; the checks' random numbers depend on it.
    """
    start_lesson(lesson)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        device, what = torch.device("cuda"), f"GPU ({torch.cuda.get_device_name()})"
    elif torch.backends.mps.is_available():
        device, what = torch.device("mps"), "Apple GPU (MPS)"
    else:
        device, what = torch.device("cpu"), "CPU"
    print(f"{lesson}: running on the {what} at {scale()} scale")
    return device
