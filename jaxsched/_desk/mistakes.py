"""The mistakes that `compare` tries: each proposes readings of a schedule that have it."""

from jaxsched._desk.mistakes_in_counts import faster, off_by_one, other_unit, restart
from jaxsched._desk.mistakes_in_curves import late_in_optax, plateau_early, smooth
from jaxsched._desk.mistakes_in_values import another_gamma, another_lr
from jaxsched._desk.mistakes_in_warmups import (
    added_warmup,
    another_warmup,
    milestones_clock,
    no_warmup,
)

MISTAKES = (
    off_by_one,
    another_lr,
    another_gamma,
    plateau_early,
    smooth,
    late_in_optax,
    milestones_clock,
    no_warmup,
    another_warmup,
    added_warmup,
    other_unit,
    restart,
    faster,
)
"""What is tried, in this order."""
