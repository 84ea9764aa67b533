"""torch.optim.lr_scheduler for JAX: exact, jittable schedules `count -> lr` for Optax and Flax."""

from typing import TYPE_CHECKING

from jaxsched._base import hints
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.compose import (
    ChainedScheduler,
    SequentialLR,
    clamp,
)
from jaxsched._schedules.cosine import (
    SWALR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
)
from jaxsched._schedules.custom import (
    LambdaLR,
    MultiplicativeLR,
    RecordedLR,
)
from jaxsched._schedules.cycle import CyclicLR, OneCycleLR
from jaxsched._schedules.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from jaxsched._schedules.epochs import (
    per_epoch,
    smooth_epochs,
    steps_per_epoch,
)
from jaxsched._schedules.plateau import ReduceLROnPlateau
from jaxsched._stack import stack, unstack
from jaxsched._state import (
    get_last_lr,
    observe,
    set_count,
)

__all__ = [
    "ChainedScheduler",
    "Comparison",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "Finding",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "RecordedLR",
    "ReduceLROnPlateau",
    "SWALR",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "check",
    "clamp",
    "compare",
    "from_torch",
    "get_last_lr",
    "identify",
    "observe",
    "parse",
    "per_epoch",
    "plot",
    "resume_from_torch",
    "set_count",
    "smooth_epochs",
    "stack",
    "steps_per_epoch",
    "unstack",
]
__version__ = "0.1.0"


def _repr_html_(schedule: Schedule) -> str | None:
    from jaxsched._desk.notebook import picture

    return picture(schedule)


# A schedule does not know the desk, which draws it. This room knows both.
Schedule._repr_html_ = _repr_html_

if TYPE_CHECKING:
    from jaxsched._desk.check.check import check
    from jaxsched._desk.compare.compare import compare
    from jaxsched._desk.compare.comparison import Comparison
    from jaxsched._desk.findings import Finding
    from jaxsched._desk.identify.identify import identify
    from jaxsched._desk.plot import plot
    from jaxsched._desk.text import parse
    from jaxsched._desk.torch.from_torch import from_torch
    from jaxsched._desk.torch.resume import resume_from_torch
else:
    # The tools of the porting desk, each imported when it is first used.
    _TOOLS = {
        "from_torch": "jaxsched._desk.torch.from_torch",
        "resume_from_torch": "jaxsched._desk.torch.resume",
        "identify": "jaxsched._desk.identify.identify",
        "compare": "jaxsched._desk.compare.compare",
        "Comparison": "jaxsched._desk.compare.comparison",
        "check": "jaxsched._desk.check.check",
        "Finding": "jaxsched._desk.findings",
        "plot": "jaxsched._desk.plot",
        "parse": "jaxsched._desk.text",
    }

    def __getattr__(name):  # only for what is not there
        if name in _TOOLS:
            import importlib

            return getattr(importlib.import_module(_TOOLS[name]), name)
        raise AttributeError(hints.hint_for_name(name, __all__), name=name)

    def __dir__():
        return [*globals(), *_TOOLS]
