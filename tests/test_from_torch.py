"""from_torch: torch's scheduler and the schedule have one learning rate at every count."""

import copy
import doctest
import importlib.util
import io
import json
import random
import sys
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.plateaus import CASES as PLATEAUS
from tests.test_parity import CLASSES, assert_double, build
from tests.traces import cookbook, load, objects

WRITTEN = objects.load()
TRACES = {f"{c}: {name}": (c, kwargs, lrs) for c in CLASSES for name, kwargs, lrs in load(c)}
every_class = pytest.mark.parametrize("class_name", CLASSES)


# -- without torch: stand-ins that have torch's attributes ----------------------------------------


@pytest.mark.parametrize("class_name", [*CLASSES, "ReduceLROnPlateau"])
def test_the_schedule_is_the_same_from_torchs_attributes_after_any_steps(class_name):
    cases = {name: steps for name, steps in WRITTEN.items() if name.startswith(f"{class_name}:")}
    assert len(cases) >= 8
    for name, steps in cases.items():
        for written in steps.values():
            scheduler = objects.read(written)
            if class_name == "ReduceLROnPlateau":
                kwargs, _, _ = PLATEAUS[name.split(": ", 1)[1]]
                assert js.from_torch(scheduler) == js.ReduceLROnPlateau(**kwargs)
                continue
            _, kwargs, lrs = TRACES[name]
            got = js.from_torch(scheduler, counts=len(lrs))
            assert not isinstance(got, js.RecordedLR)
            assert_double(got(np.arange(len(lrs))), lrs, class_name)
            is_equal = "partial" not in json.dumps(written) and kwargs.get("epochs") is None
            if is_equal and len(kwargs.get("schedulers", "ab")) > 1:
                assert got == build(class_name, kwargs)


@pytest.mark.parametrize(
    ("case", "name", "kind"),
    [
        ("SWALR: defaults", "_cosine_anneal", "cos"),
        ("SWALR: defaults", "_linear_anneal", "linear"),
        ("OneCycleLR: torch's example", "_annealing_cos", "cos"),
        ("OneCycleLR: torch's example", "_annealing_linear", "linear"),
    ],
)
def test_older_versions_of_torch_keep_a_function_where_newer_ones_keep_its_name(case, name, kind):
    scheduler = objects.read(WRITTEN[case]["0"])
    for newer in ("_anneal_strategy", "_anneal_func_type"):
        vars(scheduler).pop(newer, None)
    scheduler.anneal_func = SimpleNamespace(__name__=name)
    assert js.from_torch(scheduler).anneal_strategy == kind


class StandIn:
    """The base of torch's schedulers, as much as one's own class needs."""

    __module__ = "torch.optim.lr_scheduler"

    def __init__(self, optimizer):
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = -1
        self._initial_step()

    def _initial_step(self):
        self.step()

    def step(self):
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def get_lr(self):
        raise NotImplementedError


class Torch:
    """What a test needs of torch: the base of its schedulers, and optimizers."""

    def __init__(self, is_real):
        if is_real:
            import torch

            self.base = torch.optim.lr_scheduler.LRScheduler
            self.param = lambda: torch.nn.Parameter(torch.zeros(2))
            self.sgd = torch.optim.SGD
        else:
            self.base, self.param = StandIn, object
            self.sgd = lambda groups, lr: SimpleNamespace(
                param_groups=[{"lr": lr} | g for g in groups], defaults={"lr": lr}
            )

    def optimizer(self, *lrs):
        return self.sgd([{"params": [self.param()], "lr": lr} for lr in lrs], lr=0.5)


@pytest.fixture(params=["stand-in", pytest.param("torch", marks=pytest.mark.torch)])
def torchs(request):
    with warnings.catch_warnings():  # torch's, of steps without updates
        warnings.simplefilter("ignore")
        yield Torch(request.param == "torch")


def halves(base):
    class Halves(base):
        def get_lr(self):
            return [base_lr * 0.5**self.last_epoch for base_lr in self.base_lrs]

    return Halves


@pytest.mark.parametrize("steps", [0, 1, 3, 8])
def test_a_class_of_ones_own_is_recorded_from_count_0(torchs, steps):
    scheduler = halves(torchs.base)(torchs.optimizer(0.5))
    for _ in range(steps):
        scheduler.step()
    assert js.from_torch(scheduler, counts=4) == js.RecordedLR([0.5, 0.25, 0.125, 0.0625])
    assert scheduler.last_epoch == steps
    assert scheduler.optimizer.param_groups[0]["lr"] == 0.5 ** (steps + 1)
    with pytest.raises(ValueError, match=r"`counts` must be given, .* this Halves: it is no class"):
        js.from_torch(scheduler)


def test_each_param_group_is_recorded(torchs):
    scheduler = halves(torchs.base)(torchs.optimizer(0.5, 0.25, 0.5))
    assert js.from_torch(scheduler, group=1, counts=2) == js.RecordedLR([0.25, 0.125])
    found = r"`group` must be given.* 0, 2: RecordedLR\(\[0.5, 0.25\]\); 1: RecordedLR\(\[0.25, "
    with pytest.raises(ValueError, match=found):
        js.from_torch(scheduler, counts=2)


def test_what_it_keeps_beside_its_count_is_noticed(torchs):
    class Keeps(torchs.base):
        factor = 1.0

        def get_lr(self):
            self.factor *= 0.5
            return [base_lr * self.factor for base_lr in self.base_lrs]

    scheduler = Keeps(torchs.optimizer(0.5))
    assert js.from_torch(scheduler, counts=3) == js.RecordedLR([0.25, 0.125, 0.0625])
    scheduler.step()
    with pytest.raises(
        ValueError, match="at count 1: Keeps keeps more than its count, or may: `factor`"
    ):
        js.from_torch(scheduler, counts=3)


def test_its_learning_rate_is_noticed_where_it_was_edited(torchs):
    scheduler = halves(torchs.base)(torchs.optimizer(0.5, 0.5))
    scheduler.step()
    scheduler.optimizer.param_groups[1]["lr"] = 0.3
    with pytest.raises(ValueError, match="got 0.3 in param group 1, .* or was changed"):
        js.from_torch(scheduler, counts=3)
    assert js.from_torch(scheduler, group=0, counts=2) == js.RecordedLR([0.5, 0.25])


def test_the_copy_shares_parameters_and_draws_no_random_number_of_ours(torchs):
    class Param:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    class Random(torchs.base):
        def get_lr(self):
            random.random()
            np.random.rand()
            if "torch" in sys.modules:
                sys.modules["torch"].rand(1)
            warnings.warn("noise", UserWarning, stacklevel=1)
            return self.base_lrs

    optimizer = torchs.optimizer(0.5)
    optimizer.param_groups[0]["params"] = [Param()]
    optimizer.state = {0: Param()}
    scheduler = Random(optimizer)
    scheduler.model = optimizer.param_groups[0]["params"][:]  # as some classes keep it
    states = random.getstate(), repr(np.random.get_state())
    of_torch = sys.modules["torch"].get_rng_state().tolist() if "torch" in sys.modules else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert js.from_torch(scheduler, counts=3) == js.RecordedLR([0.5, 0.5, 0.5])
    assert (random.getstate(), repr(np.random.get_state())) == states
    if of_torch is not None:
        assert sys.modules["torch"].get_rng_state().tolist() == of_torch


def test_what_cannot_be_copied_or_run_says_so(torchs):
    class Open(halves(torchs.base)):
        pass

    scheduler = Open(torchs.optimizer(0.5))
    scheduler.file = io.FileIO(__file__)
    with pytest.raises(ValueError, match=r"and Open cannot \(.*record its learning rates in torch"):
        js.from_torch(scheduler, counts=3)
    scheduler.file.close()

    class Listens(halves(torchs.base)):
        def step(self, metric=None):
            assert self.last_epoch < 1, "a metric is missing"
            super().step()

    scheduler = Listens(torchs.optimizer(0.5))
    with pytest.raises(ValueError, match="Listens fails at count 2: AssertionError: a metric is"):
        js.from_torch(scheduler, counts=3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "`scheduler` must be a scheduler of torch or timm, got 'x'; record its"),
        (None, "got None; record its learning rates in torch"),
        (SimpleNamespace(param_groups=[]), "got an optimizer of .*; give the scheduler, which kno"),
        (optax.sgd(0.1), "got an optimizer of .*; give the scheduler, which knows its optimizer"),
        (js.StepLR(0.1, 3), r"got StepLR\(0.1, .*, which is a schedule of jaxsched already"),
        (js.ReduceLROnPlateau(0.1), "got ReduceLR.*, which is a schedule of jaxsched already"),
        (
            SimpleNamespace(scheduler=StandIn.__new__(StandIn)),
            "got an object of class SimpleNamespace; record its",
        ),
        ({"last_epoch": 3, "gamma": 0.1}, r"its state_dict\(\) does not say its class"),
        ([objects.read(next(iter(WRITTEN.values()))["0"])] * 2, "give one scheduler, and call it"),
        (
            {"scheduler": objects.read(next(iter(WRITTEN.values()))["0"]), "interval": "step"},
            "give the one that is in it",
        ),
        (
            SimpleNamespace(scheduler=objects.read(next(iter(WRITTEN.values()))["0"])),
            "got an object of class SimpleNamespace; give the one .* its attribute `scheduler`",
        ),
    ],
)
def test_what_is_no_scheduler(value, message):
    with pytest.raises(TypeError, match=message):
        js.from_torch(value)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"group": 1}, ValueError, "`group` must be an integer from 0 to 0, got 1"),
        ({"group": -1}, ValueError, "`group` must be an integer >= 0, got -1"),
        ({"group": True}, TypeError, "`group` must be an integer >= 0, got True"),
        ({"counts": 0}, ValueError, "`counts` must be an integer >= 1, got 0"),
        ({"counts": 2.5}, TypeError, "`counts` must be an integer >= 1, got 2.5"),
    ],
)
def test_wrong_arguments(kwargs, error, message):
    scheduler = objects.read(WRITTEN["StepLR: ResNet-50 on ImageNet"]["9"])
    with pytest.raises(error, match=message):
        js.from_torch(scheduler, **kwargs)


# -- with torch -----------------------------------------------------------------------------------


def state(scheduler):
    """All of it, in text: attributes, the optimizer's groups, random numbers."""
    import torch

    optimizer = scheduler.optimizer
    rng = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()
    members = [vars(m) for m in getattr(scheduler, "_schedulers", ())]
    return repr((vars(scheduler), members, optimizer.param_groups, optimizer.state, rng))


@pytest.mark.torch
@every_class
def test_every_case_is_torchs_trace_wherever_it_stands(class_name):
    from tests.traces import generate

    for name, kwargs, lrs in load(class_name):
        scheduler = generate.scheduler(class_name, kwargs)
        length, at = len(lrs), 0
        stops = {0, 1, 2, 7, length // 2, length - 1} if length < 3000 else {0, 7}
        for stop in sorted(min(stop, length - 1) for stop in stops):
            for at in range(at, stop):
                scheduler.step()
            at, before = stop, state(scheduler)
            got = js.from_torch(scheduler, counts=length)
            assert state(scheduler) == before
            assert not isinstance(got, js.RecordedLR), name
            assert_double(got(np.arange(length)), lrs, class_name)


@pytest.mark.torch
def test_every_plateau_has_its_arguments_wherever_it_stands():
    from tests.traces import plateau

    for kwargs, metrics, _ in PLATEAUS.values():
        scheduler, expected = plateau.scheduler(kwargs), js.ReduceLROnPlateau(**kwargs)
        for count, metric in enumerate(metrics[:41].tolist()):
            if count % 8 == 0:
                before = state(scheduler)
                assert js.from_torch(scheduler) == expected
                assert state(scheduler) == before
            scheduler.step(metric)


@pytest.mark.torch
@pytest.mark.parametrize("class_name", [*CLASSES, "ReduceLROnPlateau"])
def test_what_was_saved_and_loaded_gives_the_same(class_name):
    import torch

    from tests.traces import generate, plateau

    name, kwargs = next((n, kw) for n, kw, _ in load(class_name))
    is_plateau = class_name == "ReduceLROnPlateau"
    scheduler = plateau.scheduler(kwargs) if is_plateau else generate.scheduler(class_name, kwargs)
    for _ in range(7):
        scheduler.step(*([1.0] if is_plateau else []))
    file = io.BytesIO()
    torch.save(scheduler, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    got, expected = (js.from_torch(s, counts=20) for s in (loaded, scheduler))
    if is_plateau:
        assert got == expected
    else:
        assert [got(count) for count in range(20)] == [expected(count) for count in range(20)]


@pytest.mark.torch
def test_torch_here_still_has_the_written_attributes():
    assert json.loads(json.dumps(objects.make())) == objects.load()


def optimizer(lr=0.1, cls="SGD", groups=None, **kwargs):
    import torch

    params = [torch.nn.Parameter(torch.zeros(2))]
    made = [{"params": params}] if groups is None else []
    for own in groups or ():
        made.append({"params": [torch.nn.Parameter(torch.zeros(2))], "lr": own})
    return getattr(torch.optim, cls)(params if cls == "LBFGS" else made, lr=lr, **kwargs)


def lr_schedulers():
    import torch

    names = vars(torch.optim.lr_scheduler) | {"SWALR": torch.optim.swa_utils.SWALR}
    return SimpleNamespace(**names)


def run(scheduler, counts):
    lrs = []
    for count in range(counts):
        if count:
            scheduler.step()
        lrs.append(float(scheduler.optimizer.param_groups[0]["lr"]))
    return lrs


COMPOSITIONS = {  # what torch runs differently, and why it is recorded
    "SWALR later": (
        lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.SWALR(o, 0.05, 4)], [3]),
        "torch's SWALR goes on from the learning rate before it",
    ),
    "MultiplicativeLR later": (
        lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.MultiplicativeLR(o, lambda n: 0.9)], [3]),
        "torch's MultiplicativeLR goes on from the learning rate before it",
    ),
    "MultiplicativeLR from the start": (
        lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.MultiplicativeLR(o, lambda n: 0.9)], [0]),
        "torch's MultiplicativeLR goes on from the learning rate before it",
    ),
    "nested first": (
        lambda o, s: s.SequentialLR(
            o,
            [s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [4]), s.StepLR(o, 2)],
            [7],
        ),
        "torch runs a composition in it one count ahead, or fails",
    ),
    "a chain first": (
        lambda o, s: s.SequentialLR(
            o, [s.ChainedScheduler([s.ExponentialLR(o, 0.9), s.StepLR(o, 2)]), s.StepLR(o, 2)], [5]
        ),
        "torch runs a composition in it one count ahead, or fails",
    ),
    "another first learning rate": (
        lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.OneCycleLR(o, 1.0, total_steps=20)], [4]),
        "it starts from 0.04, its first member from 0.1",
    ),
    "a chain whose order matters": (
        lambda o, s: s.ChainedScheduler(
            [s.StepLR(o, 3), s.CyclicLR(o, 0.1, 0.5, 4, cycle_momentum=False)]
        ),
        "depends on the order of its members",
    ),
    "a chain of a cosine with eta_min": (
        lambda o, s: s.ChainedScheduler([s.LinearLR(o), s.CosineAnnealingLR(o, 20, 0.01)]),
        "depends on the order of its members",
    ),
    "a chain past the end of its cosine": (
        lambda o, s: s.ChainedScheduler([s.LinearLR(o), s.CosineAnnealingLR(o, 6)]),
        "after 6 counts, its cosine leaves the product",
    ),
    "SequentialLR in a chain": (
        lambda o, s: s.ChainedScheduler(
            [s.StepLR(o, 2), s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [3])]
        ),
        "depends on the order of its members",
    ),
    "a negative step_size": (lambda o, s: s.StepLR(o, -3), "`step_size` must be an integer >= 1"),
    "no warmup": (lambda o, s: s.LinearLR(o, total_iters=0), "`total_iters` must be an integer"),
    "a fractional step_size_up": (
        lambda o, s: s.CyclicLR(o, 0.1, 0.5, 2.5, cycle_momentum=False),
        "its steps are no integers: 2.5 up",
    ),
    "a scale_fn with an if": (
        lambda o, s: s.CyclicLR(
            o, 0.1, 0.5, 3, scale_fn=lambda n: 1.0 if n < 2 else 0.5, cycle_momentum=False
        ),
        "JAX cannot trace its scale_fn",
    ),
    "an unknown milestone": (
        lambda o, s: s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 2)], [2.5]),
        "`milestones` must be a sequence of integers",
    ),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("steps", [0, 1, 5, 11])
def test_what_torch_runs_differently_is_torchs_own_trace(name, steps):
    make, reason = COMPOSITIONS[name]
    expected = run(make(optimizer(), lr_schedulers()), 12)
    scheduler = make(optimizer(), lr_schedulers())
    run(scheduler, steps + 1)
    before = state(scheduler)
    with pytest.raises(ValueError, match=f"`counts` must be given, .*{reason}"):
        js.from_torch(scheduler)
    assert js.from_torch(scheduler, counts=12) == js.RecordedLR(expected)
    assert state(scheduler) == before


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_where_torch_fails_it_says_so():
    s, o = lr_schedulers(), optimizer()
    inner = s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [3])
    scheduler = s.SequentialLR(o, [s.StepLR(o, 2), inner], [6])
    with pytest.raises(ValueError, match="SequentialLR fails at count 6: NotImplementedError"):
        js.from_torch(scheduler, counts=12)
    assert len(js.from_torch(scheduler, counts=6).values) == 6


@pytest.mark.torch
def test_compositions_that_torch_runs_as_jaxsched():
    s, o = lr_schedulers(), optimizer()
    chain = s.ChainedScheduler([s.ChainedScheduler([s.LinearLR(o), s.StepLR(o, 3)])])
    linear, step = js.LinearLR(0.1), js.StepLR(0.1, 3)
    assert js.from_torch(chain) == js.ChainedScheduler([js.ChainedScheduler([linear, step])])
    o = optimizer()
    chain = s.ChainedScheduler([s.LinearLR(o), s.CosineAnnealingLR(o, 6)])
    expected = js.ChainedScheduler([linear, js.CosineAnnealingLR(0.1, 6)])
    assert js.from_torch(chain, counts=7) == expected
    assert isinstance(js.from_torch(chain, counts=8), js.RecordedLR)
    o = optimizer()
    alone = s.ChainedScheduler([s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 3)], [5])])
    assert js.from_torch(alone) == js.SequentialLR([linear, step], [5])


@pytest.mark.torch
def test_a_lambda_is_traced_or_tabulated():
    s = lr_schedulers()
    traced = s.LambdaLR(optimizer(), lambda count: 0.9**count)
    assert js.from_torch(traced, counts=20).horizon is None
    integers = s.LambdaLR(optimizer(), lambda count: jnp.array([1.0, 0.5, 0.25])[count])
    assert js.from_torch(integers).horizon is None
    branch = s.LambdaLR(optimizer(), lambda count: 1.0 if count < 3 else 3 / count)
    with pytest.raises(ValueError, match="this LambdaLR: JAX cannot trace its lr_lambda"):
        js.from_torch(branch)
    expected = [0.1, 0.1, 0.1, 0.1, 0.075, 0.06]
    branch.optimizer.step()
    for _ in range(8):  # longer than the table
        got = js.from_torch(branch, counts=6)
        assert got.horizon == 6
        np.testing.assert_array_equal(jax.jit(got)(jnp.arange(6)), np.float32(expected))
        branch.step()
    with pytest.raises(ValueError, match="this MultiplicativeLR: its lr_lambda is a product"):
        js.from_torch(s.MultiplicativeLR(optimizer(), lambda count: 0.9))


@pytest.mark.torch
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
def test_a_one_cycle_is_read_after_its_whole_run(anneal_strategy):
    s = lr_schedulers()

    def after(make, counts):
        scheduler = make(optimizer(momentum=0.9))
        for _ in range(counts):
            scheduler.optimizer.step()
            scheduler.step()
        return scheduler

    def cycle(o, max_lr=0.7):
        return s.OneCycleLR(o, max_lr, total_steps=9, anneal_strategy=anneal_strategy)

    ours = js.OneCycleLR(0.7, 9, anneal_strategy=anneal_strategy)
    ended = after(cycle, 9)
    assert ended.get_last_lr()[0] != ours(9)  # torch runs on for one count
    assert js.from_torch(ended) == ours
    with pytest.raises(ValueError, match="Tried to step 10 times"):
        ended.step()  # its count is 10 now, and the learning rate stays
    assert js.from_torch(ended) == ours
    ended.optimizer.param_groups[0]["lr"] = 0.5
    with pytest.raises(ValueError, match="`scheduler` must"):
        js.from_torch(ended)
    # 2.5 / 25 is the optimizer's learning rate.
    both = after(lambda o: s.SequentialLR(o, [s.ConstantLR(o, 1.0), cycle(o, 2.5)], [4]), 13)
    assert js.from_torch(both).schedulers[1] == js.OneCycleLR(
        2.5, 9, anneal_strategy=anneal_strategy
    )


@pytest.mark.torch
def test_each_group_has_its_own():
    s = lr_schedulers()

    def each(make, *groups, **kwargs):
        scheduler = make(optimizer(groups=groups, **kwargs))
        return [js.from_torch(scheduler, group=g) for g in range(len(groups))]

    halves = [lambda count: 0.5**count, lambda count: 0.25**count]
    first, second = each(lambda o: s.LambdaLR(o, halves), 0.1, 0.2)
    assert (first(2), second(2)) == (0.1 * 0.25, 0.2 * 0.0625)
    first, second = each(
        lambda o: s.OneCycleLR(o, [0.1, 0.7], total_steps=9), 0.1, 0.1, momentum=0.9
    )
    assert first == js.OneCycleLR(0.1, 9) and second == js.OneCycleLR(0.7, 9)
    first, second = each(
        lambda o: s.CyclicLR(o, [0.1, 0.2], [0.3, 0.7], 4, base_momentum=[0.8, 0.7]),
        *(0.1, 0.1),
        momentum=0.9,
    )
    assert second == js.CyclicLR(0.2, 0.7, 4, base_momentum=0.7)
    first, second = each(lambda o: s.SWALR(o, [0.01, 0.02]), 0.1, 0.2)
    assert second == js.SWALR(0.2, 0.02)
    first, second = each(lambda o: s.ReduceLROnPlateau(o, min_lr=[0.01, 0.02]), 0.1, 0.2)
    assert second == js.ReduceLROnPlateau(0.2, min_lr=0.02)

    scheduler = s.StepLR(optimizer(groups=[0.1, 0.01, 0.1]), 3)
    found = r"differ. 0, 2: StepLR\(0.1, step_size=3, gamma=0.1\); 1: StepLR\(0.01, step_size=3"
    with pytest.raises(ValueError, match=found):
        js.from_torch(scheduler)
    alike = s.StepLR(optimizer(groups=[0.1, 0.1]), 3)
    assert js.from_torch(alike) == js.StepLR(0.1, 3)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tensor_as_learning_rate(dtype):
    import torch

    s = lr_schedulers()
    for make, expected in [
        (lambda o: s.StepLR(o, 2, 0.7), js.StepLR(0.1, 2, 0.7)),
        (lambda o: s.ExponentialLR(o, 0.97), js.ExponentialLR(0.1, 0.97)),
        (lambda o: s.CosineAnnealingLR(o, 30), js.CosineAnnealingLR(0.1, 30)),
        (lambda o: s.OneCycleLR(o, 0.1, total_steps=30), js.OneCycleLR(0.1, 30)),
        (lambda o: s.SWALR(o, 0.05), js.SWALR(0.1, 0.05)),
        (lambda o: s.ReduceLROnPlateau(o, patience=19), js.ReduceLROnPlateau(0.1, patience=19)),
    ]:
        lr = torch.tensor(0.1, dtype=getattr(torch, dtype))
        scheduler = make(optimizer(lr, "Adam", capturable=True))
        scheduler.optimizer.step()
        for count in range(20):
            assert js.from_torch(scheduler) == expected
            scheduler.step(*([1.0] if hasattr(scheduler, "patience") else []))
        if hasattr(scheduler, "patience"):  # torch writes into the optimizer's own tensor
            with pytest.raises(ValueError, match="must have a first learning rate that is known"):
                js.from_torch(scheduler)
    scheduler = halves(s.LRScheduler)(optimizer(torch.tensor(0.5), "Adam", capturable=True))
    scheduler.optimizer.step()
    for lr in (0.5, 0.25):
        assert js.from_torch(scheduler, counts=3) == js.RecordedLR([0.5, 0.25, 0.125])
        assert scheduler.optimizer.param_groups[0]["lr"] == lr
        scheduler.step()


@pytest.mark.torch
@pytest.mark.parametrize("cls", ["LBFGS", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_any_optimizer_with_a_state_stays_as_it_is(cls):
    import torch

    o = optimizer(0.1, cls)
    param = o.param_groups[0]["params"][0]

    def closure():
        o.zero_grad()
        loss = (param - 1).square().sum()
        loss.backward()
        return loss

    scheduler = halves(lr_schedulers().LRScheduler)(o)
    o.step(closure)
    scheduler.step()
    hook = o.register_step_pre_hook(lambda *_: pytest.fail("a hook ran"))
    before, copied = state(scheduler), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__deepcopy__", lambda self, memo: copied.append(self))
        got = js.from_torch(scheduler, counts=3)
    assert got == js.RecordedLR([0.1, 0.05, 0.025])
    assert not copied
    assert state(scheduler) == before
    hook.remove()


@pytest.mark.torch
def test_a_change_behind_its_back_is_noticed():
    s = lr_schedulers()

    def at(make, steps=4, **kwargs):
        scheduler = make(optimizer(**kwargs))
        scheduler.optimizer.step()
        for _ in range(steps):
            scheduler.step()
        return scheduler

    scheduler = at(lambda o: s.StepLR(o, 3), groups=[0.1, 0.1])
    scheduler.optimizer.param_groups[1]["lr"] = 0.05
    message = r"got 0.05 in param group 1 at count 4, and they give 0.010000000000000002: StepLR\("
    with pytest.raises(ValueError, match=message):
        js.from_torch(scheduler)
    assert js.from_torch(scheduler, group=0) == js.StepLR(0.1, 3)
    scheduler.step()  # the next step keeps it
    with pytest.raises(ValueError, match="got 0.05 in param group 1 at count 5"):
        js.from_torch(scheduler)

    for change in ({"gamma": 0.5}, {"step_size": 2}, {"base_lrs": [0.2]}, {"last_epoch": 2}):
        scheduler = at(lambda o: s.StepLR(o, 3))
        vars(scheduler).update(change)
        with pytest.raises(ValueError, match="must have the learning rate of its arguments"):
            js.from_torch(scheduler)

    o = optimizer()
    scheduler, other = s.StepLR(o, 3), s.ExponentialLR(o, 0.9)
    o.step()
    scheduler.step()
    other.step()
    with pytest.raises(ValueError, match="then give the ChainedScheduler of both"):
        js.from_torch(scheduler)
    both = js.ChainedScheduler([js.StepLR(0.1, 3), js.ExponentialLR(0.1, 0.9)])
    assert js.from_torch(s.ChainedScheduler([scheduler, other])) == both
    other.step()
    with pytest.raises(ValueError, match="must have members at one count, got 1, 2"):
        js.from_torch(s.ChainedScheduler([scheduler, other]))

    scheduler = at(lambda o: s.StepLR(o, 3))
    added = optimizer().param_groups[0]["params"]
    scheduler.optimizer.add_param_group({"params": added})
    with pytest.raises(
        ValueError, match="the scheduler has from its start, got 1, which was added"
    ):
        js.from_torch(scheduler)
    assert js.from_torch(scheduler, group=0) == js.StepLR(0.1, 3)

    o = optimizer()
    member = s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 3)], [5])._schedulers[1]
    with pytest.raises(ValueError, match="must have started, got last_epoch -1: give the Sequent"):
        js.from_torch(member)


@pytest.mark.torch
@pytest.mark.parametrize("epoch", [0.25, 1.75, 4.999, 17.5, 100.25])
def test_restarts_stepped_by_fractions_of_an_epoch(epoch):
    for T_mult in (1, 2):
        scheduler = lr_schedulers().CosineAnnealingWarmRestarts(optimizer(), 5, T_mult)
        scheduler.optimizer.step()
        scheduler.step(epoch)
        assert js.from_torch(scheduler) == js.CosineAnnealingWarmRestarts(0.1, 5, T_mult)


@pytest.mark.torch
def test_the_first_learning_rate_of_a_plateau_where_it_is_known():
    s = lr_schedulers()

    def told(*groups, times, other=None, **kwargs):
        o = optimizer(groups=groups or None)
        warmup = other and other(o)
        scheduler = s.ReduceLROnPlateau(o, patience=1, **kwargs)
        o.step()
        for _ in range(times):
            scheduler.step(1.0)
            if warmup:
                warmup.step()
        return scheduler

    for times in range(8):  # the optimizer's own
        assert js.from_torch(told(times=times)) == js.ReduceLROnPlateau(0.1, patience=1)
    for times in range(2):  # one of the group's own, before a cut was possible
        got = js.from_torch(told(0.3, 0.2, times=times), group=1)
        assert got == js.ReduceLROnPlateau(0.2, patience=1)
    for groups in ([0.3], [0.1, 0.01]):  # and after one: 0.01 might be 0.1, cut
        with pytest.raises(
            ValueError, match=r"first learning rate that is known, got .*initial_lr"
        ):
            js.from_torch(told(*groups, times=4), group=0)
    scheduler = told(0.3, times=8)
    scheduler.optimizer.param_groups[0]["initial_lr"] = 0.3
    assert js.from_torch(scheduler).base_lr == 0.3
    warm = told(times=8, other=lambda o: s.LinearLR(o, 0.1, total_iters=3))
    assert js.from_torch(warm).base_lr == 0.1


@pytest.mark.torch
def test_the_page_runs_with_torch_as_it_is_printed():
    names, runner = {}, doctest.DebugRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    for block in cookbook.blocks((cookbook.PAGE.parent / "from-torch.md").read_text()):
        if block.title == "torch" and block.heading not in ("A plateau goes on", "Accelerate"):
            if block.code.startswith(">>> "):
                test = doctest.DocTestParser().get_doctest(block.code, names, block.heading, "", 0)
                runner.run(test, clear_globs=False)
                names |= test.globs
            else:
                exec(block.code, names)
    assert "inverse" in names


# -- Hugging Face and timm ------------------------------------------------------------------------

HUGGING_FACE = {
    "cosine_with_min_lr": {"min_lr": 0.01},
    "cosine_warmup_with_min_lr": {"min_lr": 0.01},
    "warmup_stable_decay": {"num_decay_steps": 20},
    "polynomial": {"power": 2.0, "lr_end": 1e-3},
}


@pytest.mark.port
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [0, 1, 10, 30])
def test_every_scheduler_of_hugging_face(steps):
    from transformers import SchedulerType, get_scheduler

    def make(kind):
        extra = HUGGING_FACE.get(kind.value)
        return get_scheduler(kind, optimizer(), 10, 100, scheduler_specific_kwargs=extra)

    assert len(SchedulerType) >= 11
    for kind in SchedulerType:
        scheduler = make(kind)
        if kind.value == "reduce_lr_on_plateau":
            assert js.from_torch(scheduler) == js.ReduceLROnPlateau(0.1)
        elif kind.value == "greedy":
            with pytest.raises(TypeError, match="got an object of class GreedyLR; record its"):
                js.from_torch(scheduler)
        else:
            run(scheduler, steps + 1)
            got, expected = js.from_torch(scheduler, counts=100), run(make(kind), 100)
            np.testing.assert_allclose(got(np.arange(100)), expected, rtol=1e-13)
            np.testing.assert_array_equal(jax.jit(got)(jnp.arange(100)), np.float32(expected))
            if kind.value != "constant":
                with pytest.raises(ValueError, match="`counts` must be given"):
                    js.from_torch(scheduler)


@pytest.fixture
def create_scheduler():
    # timm imports torchvision, which its schedulers do not need.
    if "timm" not in sys.modules:
        sys.modules["timm"] = importlib.util.module_from_spec(importlib.util.find_spec("timm"))
    from timm.scheduler import create_scheduler_v2

    return create_scheduler_v2


@pytest.mark.port
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("in_epochs", [True, False])
@pytest.mark.parametrize(
    "kind", ["cosine", "tanh", "step", "constant", "multistep", "poly", "wsd", "rsqrt"]
)
@pytest.mark.parametrize("warmup", [0, 5])
def test_every_scheduler_of_timm(create_scheduler, kind, in_epochs, noise, warmup):
    def make():
        return create_scheduler(
            optimizer(groups=[0.1, 0.01]),
            sched=kind,
            num_epochs=30,
            warmup_epochs=warmup or (kind == "rsqrt"),
            decay_epochs=0.2 if kind == "wsd" else 7,
            decay_milestones=[1, 20],
            step_on_epochs=in_epochs,
            updates_per_epoch=4,
            noise=noise,
        )[0]

    counts, scheduler, other = 30 if in_epochs else 120, make(), make()
    step = other.step if in_epochs else other.step_update
    expected = []
    for count in range(counts):
        if count:
            step(count)
        expected.append([group["lr"] for group in other.optimizer.param_groups])
    for at in (0, 1, 17):
        if at:
            (scheduler.step if in_epochs else scheduler.step_update)(at)
        before = copy.deepcopy(scheduler.optimizer.param_groups), copy.deepcopy(vars(scheduler))
        for group in (0, 1):
            got = js.from_torch(scheduler, group=group, counts=counts)
            np.testing.assert_array_equal(got.values, np.array(expected)[:, group])
        assert repr(before) == repr((scheduler.optimizer.param_groups, vars(scheduler)))
    with pytest.raises(ValueError, match="`counts` must be given"):
        js.from_torch(scheduler)
    scheduler.optimizer.param_groups[0]["lr"] = 0.777
    with pytest.raises(ValueError, match="got 0.777 in param group 0"):
        js.from_torch(scheduler, counts=counts)


@pytest.mark.port
@pytest.mark.filterwarnings("ignore")
def test_timms_plateau_holds_torchs(create_scheduler):
    scheduler, _ = create_scheduler(optimizer(), sched="plateau", patience_epochs=3)
    with pytest.raises(TypeError, match="PlateauLRScheduler; give the one .* `lr_scheduler`"):
        js.from_torch(scheduler, counts=9)
    got = js.from_torch(scheduler.lr_scheduler)
    assert got == js.ReduceLROnPlateau(0.1, mode="max", patience=3)
