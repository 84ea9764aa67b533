"""torch.optim.lr_scheduler for JAX: exact, jittable schedules `count -> lr` for Optax and Flax."""

from typing import TYPE_CHECKING

from jaxsched._base import hints
from jaxsched._base.schedule import Schedule as Schedule
from jaxsched._schedules.compose import (
    ChainedScheduler as ChainedScheduler,
    SequentialLR as SequentialLR,
    clamp as clamp,
)
from jaxsched._schedules.cosine import (
    SWALR as SWALR,
    CosineAnnealingLR as CosineAnnealingLR,
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from jaxsched._schedules.custom import (
    LambdaLR as LambdaLR,
    MultiplicativeLR as MultiplicativeLR,
    RecordedLR as RecordedLR,
)
from jaxsched._schedules.cycle import CyclicLR as CyclicLR, OneCycleLR as OneCycleLR
from jaxsched._schedules.decay import (
    ConstantLR as ConstantLR,
    ExponentialLR as ExponentialLR,
    LinearLR as LinearLR,
    MultiStepLR as MultiStepLR,
    PolynomialLR as PolynomialLR,
    StepLR as StepLR,
)
from jaxsched._schedules.epochs import (
    per_epoch as per_epoch,
    smooth_epochs as smooth_epochs,
    steps_per_epoch as steps_per_epoch,
)
from jaxsched._schedules.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from jaxsched._stack import stack as stack, unstack as unstack
from jaxsched._state import (
    get_last_lr as get_last_lr,
    observe as observe,
    set_count as set_count,
)

__version__ = "0.1.0"

# The tools of the porting desk, each imported when it is first used.
_TOOLS = {
    "from_torch": "jaxsched._desk.from_torch",
    "resume_from_torch": "jaxsched._desk.resume",
    "compare": "jaxsched._desk.compare",
    "Comparison": "jaxsched._desk.compare",
    "check": "jaxsched._desk.check",
    "Finding": "jaxsched._desk.curve",
    "plot": "jaxsched._desk.plot",
    "parse": "jaxsched._desk.text",
}

if TYPE_CHECKING:
    from jaxsched._desk.check import check as check
    from jaxsched._desk.compare import Comparison as Comparison, compare as compare
    from jaxsched._desk.curve import Finding as Finding
    from jaxsched._desk.from_torch import from_torch as from_torch
    from jaxsched._desk.plot import plot as plot
    from jaxsched._desk.resume import resume_from_torch as resume_from_torch
    from jaxsched._desk.text import parse as parse
else:

    def __getattr__(name):  # only for what is not there
        if name in _TOOLS:
            import importlib

            return getattr(importlib.import_module(_TOOLS[name]), name)
        names = [known for known in __dir__() if not known.startswith("_")]
        raise AttributeError(hints.of_name(name, names), name=name)

    def __dir__():
        return [*globals(), *_TOOLS]
