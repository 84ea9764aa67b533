"""Two members in a composition: torch's learning rates, or refused, or a row of the docs' table."""

import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import jaxsched as js

PAGE = Path(__file__).parents[1] / "docs" / "pages" / "coming-from-pytorch.md"
LENGTH = 40


def rows():
    """The composition, the first members and the second ones of each row; "any" is all."""
    table = PAGE.read_text().split("## Compositions, pair by pair")[1].split("\n## ")[0]
    found = []
    for line in re.findall(r"(?m)^\| `.*\|$", table):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = [CLASSES if c == "any" else re.findall(r"`(\w+)`", c) for c in cells[1:3]]
        found.append((cells[0].strip("`"), *map(frozenset, named)))
    return found


def inverse(count):
    return 1 / (1 + count)


def nine_tenths(count):
    return 0.9


def pairs(seed):
    """By class: one of torch's on an optimizer, and ours on a learning rate."""
    draw = random.Random(seed)
    k, m, f = draw.randint(1, 6), draw.randint(1, 6), round(draw.uniform(0.1, 0.9), 2)
    eta_min = draw.choice([0.0, 0.01])
    plain = {
        "StepLR": (k, f),
        "MultiStepLR": ([k, k + m, k + m], f),
        "ConstantLR": (f, k),
        "LinearLR": (f, 1.0, k),
        "ExponentialLR": (f,),
        "PolynomialLR": (k + m, 2.0),
        "CosineAnnealingLR": (k + m, eta_min),
        "CosineAnnealingWarmRestarts": (k, m, eta_min),
        "LambdaLR": (inverse,),
        "SWALR": (0.02, k),
    }

    def of_torch(name, arguments):
        return lambda s, o: getattr(s, name)(o, *arguments)

    def of_ours(name, arguments):
        return lambda lr: getattr(js, name)(lr, *arguments)

    made = {n: (of_torch(n, args), of_ours(n, args)) for n, args in plain.items()}
    exponential = made["ExponentialLR"] if draw.random() < 0.5 else made["StepLR"]
    linear = made["LinearLR"]
    return made | {
        "MultiplicativeLR": (
            lambda s, o: s.MultiplicativeLR(o, nine_tenths),
            lambda lr: js.MultiplicativeLR(lr, nine_tenths, LENGTH),
        ),
        "CyclicLR": (
            lambda s, o: s.CyclicLR(o, 0.03, 0.2, k, m, cycle_momentum=False),
            lambda lr: js.CyclicLR(0.03, 0.2, k, m),
        ),
        "OneCycleLR": (
            lambda s, o: s.OneCycleLR(o, 0.5, 2 * LENGTH, cycle_momentum=False),
            lambda lr: js.OneCycleLR(0.5, 2 * LENGTH),
        ),
        "SequentialLR": (
            lambda s, o: s.SequentialLR(o, [linear[0](s, o), exponential[0](s, o)], [m]),
            lambda lr: js.SequentialLR([linear[1](lr), exponential[1](lr)], [m]),
        ),
        "ChainedScheduler": (
            lambda s, o: s.ChainedScheduler([linear[0](s, o), exponential[0](s, o)]),
            lambda lr: js.ChainedScheduler([linear[1](lr), exponential[1](lr)]),
        ),
    }


CLASSES = [*pairs(0)]


def outcome(composition, first, second, seed):
    """Whether ours is equal to torch's or different, or refused."""
    import torch
    from torch.optim import lr_scheduler

    lr_scheduler.SWALR = torch.optim.swa_utils.SWALR
    ones, others = pairs(2 * seed)[first], pairs(2 * seed + 1)[second]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    milestone = [random.Random(seed).randint(1, 9)]
    try:
        ours = [make[1](0.1) for make in (ones, others)]
        if composition == "SequentialLR":
            schedule = js.SequentialLR(ours, milestone)
        else:
            schedule = js.ChainedScheduler(ours)
    except ValueError as error:
        assert "must each be base_lr times a factor" in str(error)
        return "refused"
    members = [make[0](lr_scheduler, optimizer) for make in (ones, others)]
    if composition == "SequentialLR":
        scheduler = lr_scheduler.SequentialLR(optimizer, members, milestone)
    else:
        scheduler = lr_scheduler.ChainedScheduler(members)
    lrs = []
    try:
        for count in range(LENGTH):
            if count:
                scheduler.step()
            lrs.append(optimizer.param_groups[0]["lr"])
    except NotImplementedError:
        return "different"
    is_equal = np.allclose(schedule(np.arange(LENGTH)), lrs, rtol=1e-9, atol=1e-15)
    return "equal" if is_equal else "different"


def test_the_table_names_classes():
    table = rows()
    assert len(table) >= 8
    for composition, *members in table:
        assert composition in ("SequentialLR", "ChainedScheduler")
        for names in members:
            assert names and names <= {*CLASSES}


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("composition", ["SequentialLR", "ChainedScheduler"])
def test_every_pair_is_equal_or_refused_or_in_the_table(composition):
    table = [row[1:] for row in rows() if row[0] == composition]
    different = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of steps without updates
        for first in CLASSES:
            for second in CLASSES:
                found = {outcome(composition, first, second, seed) for seed in range(12)}
                if not any(first in ones and second in others for ones, others in table):
                    assert found <= {"equal", "refused"}, (first, second)
                elif "different" in found:
                    different.add((first, second))
    for ones, others in table:  # no row is there for nothing
        for named, i in ((ones, 0), (others, 1)):
            if len(named) < len(CLASSES):
                pair = [p for p in different if p[0] in ones and p[1] in others]
                assert named == {p[i] for p in pair}, (ones, others)
