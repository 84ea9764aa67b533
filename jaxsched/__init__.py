"""torch.optim.lr_scheduler for JAX: exact, jittable schedules `count -> lr` for Optax and Flax."""

from jaxsched._compose import (
    ChainedScheduler as ChainedScheduler,
    SequentialLR as SequentialLR,
    clamp as clamp,
)
from jaxsched._cosine import (
    SWALR as SWALR,
    CosineAnnealingLR as CosineAnnealingLR,
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from jaxsched._custom import (
    LambdaLR as LambdaLR,
    MultiplicativeLR as MultiplicativeLR,
    RecordedLR as RecordedLR,
)
from jaxsched._cycle import CyclicLR as CyclicLR, OneCycleLR as OneCycleLR
from jaxsched._decay import (
    ConstantLR as ConstantLR,
    ExponentialLR as ExponentialLR,
    LinearLR as LinearLR,
    MultiStepLR as MultiStepLR,
    PolynomialLR as PolynomialLR,
    StepLR as StepLR,
)
from jaxsched._epochs import (
    per_epoch as per_epoch,
    smooth_epochs as smooth_epochs,
    steps_per_epoch as steps_per_epoch,
)
from jaxsched._plateau import ReduceLROnPlateau as ReduceLROnPlateau
from jaxsched._state import get_last_lr as get_last_lr, observe as observe

__version__ = "0.1.0"
