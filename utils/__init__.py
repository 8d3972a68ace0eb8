"""What every lesson imports: set-up, checks, plots, widgets, training.

Importing this package needs torch, numpy and einops alone; a module that needs more imports it when it is used.
"""

from utils.checks import *  # noqa: F403
from utils.plots import *  # noqa: F403
from utils.setup import *  # noqa: F403
from utils.training import *  # noqa: F403
from utils.widgets import *  # noqa: F403
