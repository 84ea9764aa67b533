"""compare: equal logs are equal, a planted mistake is found, and nothing else is."""

import collections
import inspect
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from hypothesis import given, settings, strategies as st

import jaxsched as js
from tests.marks import slow_case
from tests.plateaus import CASES, standard
from tests.schedules import LONG, MORE, OF_FUNCTIONS, SHORT, in_epochs
from tests.test_parity import build
from tests.traces import cases, load

SLOW = pytest.mark.slow


def name(schedule):
    return type(schedule).__name__


def codes(comparison):
    return [finding.code for finding in comparison.diagnoses]


def on_device(schedule, num_counts):
    """An optax schedule as an optimizer calls it."""
    with standard:
        return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(num_counts)))


# -- equal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", [*SHORT, *map(slow_case, LONG + MORE), *OF_FUNCTIONS], ids=name
)
def test_a_schedules_own_log_is_equal(schedule):
    lrs = np.array([schedule(count) for count in range(100)])
    for log in (
        lrs,
        lrs.astype(np.float32),
        [f"{lr:.4e}" for lr in lrs],
        {"step": [*range(100)], "lr": lrs},
    ):
        comparison = js.compare(schedule, log)
        assert comparison and comparison.equal and comparison.num_rows == 100, comparison
        assert (comparison.count, comparison.expected, comparison.found) == (None, None, None)
        assert comparison.diagnoses == () and str(comparison).startswith("Equal in all 100 rows.")


@pytest.mark.parametrize("schedule", [s for s in SHORT if in_epochs(s)], ids=name)
def test_a_schedule_in_epochs_is_equal_to_its_log_in_updates(schedule):
    for lengths in (3, [4, 1, 3]):
        lrs = js.per_epoch(schedule, lengths)(np.arange(50))
        assert js.compare(schedule, lrs, steps_per_epoch=lengths)
        assert js.compare(js.per_epoch(schedule, lengths), lrs, steps_per_epoch=lengths)
        log = {"epoch": [*range(20)], "lr": schedule(np.arange(20))}
        assert js.compare(schedule, log, steps_per_epoch=lengths) and js.compare(schedule, log)


@pytest.mark.parametrize(
    "class_name",
    [
        name if name in ("StepLR", "MultiStepLR", "OneCycleLR") else pytest.param(name, marks=SLOW)
        for name in cases.CASES
    ],
)
def test_torchs_own_traces_are_equal(class_name):
    for name, kwargs, lrs in load(class_name):
        lrs = lrs[np.isfinite(lrs)]  # a gamma above 1 ends there
        assert js.compare(build(class_name, kwargs), lrs), name


@pytest.mark.parametrize("name", CASES)
def test_torchs_own_plateaus_are_equal(name):
    kwargs, metrics, lrs = CASES[name]
    plateau, log = js.ReduceLROnPlateau(**kwargs), {"lr": lrs[:-1], "val_loss": metrics}
    assert js.compare(plateau, log), name


@pytest.mark.parametrize("digits", [".3f", ".6f", ".3g", ".2e", ".5e"])
def test_a_log_printed_with_few_digits_is_equal_and_another_is_not(digits):
    cosine = js.CosineAnnealingLR(0.1, 100)
    texts = [f"{lr:{digits}}" for lr in cosine(np.arange(100))]
    comparison = js.compare(cosine, texts)
    assert comparison and "They are compared to the " in str(comparison)
    other = js.compare(js.CosineAnnealingLR(0.11, 100), texts)
    assert not other and codes(other) == ["another-base-lr"]


@pytest.mark.parametrize("part", [1e-15, 1.1e-7, 1.3e-7, -1.1e-7, -1.3e-7])
def test_equal_is_to_the_precision_of_float32(part):
    cosine = js.CosineAnnealingLR(0.1, 100)
    lrs = cosine(np.arange(50))
    lrs[30] *= 1 + part
    comparison = js.compare(cosine, lrs)
    assert comparison.equal == (abs(part) < 2.0**-23)
    assert codes(comparison) == ([] if comparison.equal else ["float32-arithmetic"])


def test_a_last_bit_is_not_called_another_learning_rate():
    lrs = js.CosineAnnealingLR(0.1, 100)(np.arange(50)).astype(np.float32)
    lrs[30] = np.nextafter(lrs[30], np.float32(0))
    assert codes(js.compare(js.CosineAnnealingLR(0.1, 100), lrs)) == ["float32-arithmetic"]


def test_a_residue_of_torch_is_a_zero():
    schedule = js.LinearLR(0.1, 1.0, 0.0, total_iters=3)
    assert js.compare(schedule, [0.1, 0.2 / 3, 0.1 / 3, 1e-18, -1e-18])
    assert not js.compare(schedule, [0.1, 0.2 / 3, 0.1 / 3, 1e-15])


def test_the_first_difference_is_told():
    schedule = js.MultiStepLR(0.1, [10])
    lrs = schedule(np.arange(20))
    lrs[[7, 12]] = 0.3, 0.4
    comparison = js.compare(schedule, lrs)
    assert not comparison
    assert (comparison.count, comparison.expected, comparison.found) == (7, 0.1, 0.3)
    assert str(comparison).splitlines() == [
        "Different at count 7: expected 0.1, found 0.3, relative difference 2.",
        "2 of 20 rows differ.",
        "Nothing that compare tries explains all rows. Different: count 7 and count 12; equal "
        "elsewhere.",
    ]
    assert comparison.schedule is None and comparison.places == "count 7 and count 12"
    comparison = js.compare(schedule, np.repeat(lrs, 3), steps_per_epoch=3)
    assert (comparison.count, comparison.epoch) == (21, 7)
    assert str(comparison).startswith("Different at count 21 (epoch 7): expected 0.1")
    with pytest.raises(AttributeError):
        comparison.equal = True


def test_what_is_nearly_equal_is_printed_with_all_digits_and_0_has_no_relative_difference():
    near = js.Comparison(equal=False, count=3, expected=0.1, found=0.1 + 1e-12)
    first = f"expected 0.1, found {near.found!r}, relative difference 1e-11."
    assert str(near).splitlines()[0] == f"Different at count 3: {first}"
    zero = js.Comparison(equal=False, count=3, expected=0.0, found=0.5)
    assert "expected 0, found 0.5, relative difference infinite." in str(zero)


# -- counts --------------------------------------------------------------------------------------

STEPS = js.MultiStepLR(0.1, [40, 70])


@pytest.mark.parametrize("first", [0, 1, 5])
def test_a_log_numbered_from_1_is_read_in_either_way(first):
    labels = np.arange(1, 100)
    comparison = js.compare(STEPS, {"step": labels, "lr": STEPS(labels - 1)})
    assert comparison and "They are numbered from 1, which is count 0." in str(comparison)
    comparison = js.compare(STEPS, {"step": labels, "lr": STEPS(labels)})
    assert comparison and "The first one is count 1." in str(comparison)
    late = js.compare(STEPS, {"step": labels, "lr": STEPS(labels - 2)})
    assert codes(late) == ["off-by-one"] and late.count == 40
    gamma = js.compare(STEPS, {"step": labels, "lr": js.MultiStepLR(0.1, [40, 70], 0.5)(labels)})
    assert codes(gamma) == ["another-gamma"]


def test_a_log_every_50_updates_is_read_at_its_counts():
    counts = np.arange(0, 5000, 50)
    schedule = js.per_epoch(js.CosineAnnealingLR(0.1, 10), 391)
    assert js.compare(schedule, {"step": counts, "lr": schedule(counts)})
    late = js.compare(schedule, {"step": counts, "lr": schedule(counts - 1)})
    assert not late.diagnoses or codes(late) == ["off-by-one"]
    other = js.compare(schedule, {"step": counts, "lr": 2 * schedule(counts)})
    assert codes(other) == ["another-base-lr"]


def test_rows_of_epochs_are_one_an_epoch_or_all():
    schedule, epochs = js.StepLR(0.1, 2), np.arange(10)
    assert js.compare(schedule, {"epoch": epochs, "lr": schedule(epochs)}, steps_per_epoch=7)
    log = {"epoch": np.repeat(epochs, 7), "lr": np.repeat(schedule(epochs), 7)}
    assert js.compare(schedule, log, steps_per_epoch=7)
    assert js.compare(schedule, {k: v[:-3] for k, v in log.items()}, steps_per_epoch=7)
    log["epoch"] = log["epoch"] + 1
    assert js.compare(schedule, log, steps_per_epoch=[7])
    with pytest.raises(ValueError, match="must have a column `step`, .* got 7 of epoch 0"):
        js.compare(schedule, {"epoch": np.repeat(epochs, 7), "lr": np.ones(70)}, steps_per_epoch=8)


def test_a_staircase_that_is_an_epoch_early_is_no_log_of_the_ends_of_epochs():
    schedule, epochs = js.per_epoch(js.MultiStepLR(0.1, [3, 6]), 200), np.arange(9)
    early = js.compare(schedule, {"epoch": epochs, "lr": schedule(200 * epochs + 200)})
    assert codes(early) == ["read-after-step"]


def test_a_mistake_is_found_in_a_log_of_the_ends_of_epochs():
    smooth, epochs = js.smooth_epochs(js.CosineAnnealingLR(0.1, 90), 391), np.arange(1, 91)
    comparison = js.compare(smooth, {"epoch": epochs, "lr": 2 * smooth(epochs * 391 - 1)})
    assert codes(comparison) == ["another-base-lr"]
    assert "Each row is of the last update of its epoch." in str(comparison)


def test_what_a_resumed_run_writes_again_is_left_out():
    counts = np.concatenate([np.arange(60), np.arange(50, 90)])
    lrs = STEPS(counts)
    lrs[55:60] = 9
    comparison = js.compare(STEPS, {"step": counts, "lr": lrs})
    assert comparison and "10 more are left out" in str(comparison), str(comparison)


# -- one mistake, and two ------------------------------------------------------------------------


def step(lr=0.1, gamma=0.3):
    return js.StepLR(lr, 30, gamma)


def multi_step(lr=0.1, gamma=0.3):
    return js.MultiStepLR(lr, [40, 70, 100], gamma)


def exponential(lr=0.1, gamma=0.95):
    return js.ExponentialLR(lr, gamma)


def cosine(lr=0.1, eta_min=0.0):
    return js.CosineAnnealingLR(lr, 90, eta_min)


def one_cycle(lr=0.1):
    return js.OneCycleLR(lr, 120)


def after_warmup(main, lr, warmup):
    if not warmup:
        return main
    return js.SequentialLR([js.LinearLR(lr, 0.1, 1.0, warmup), main], [warmup])


def warmup_steps(lr=0.1, gamma=0.3, warmup=20):
    return after_warmup(multi_step(lr, gamma), lr, warmup)


def warmup_cosine(lr=0.1, eta_min=0.0, warmup=20):
    return after_warmup(js.CosineAnnealingLR(lr, 160, eta_min), lr, warmup)


def warmup_times_steps(lr=0.1, gamma=0.3, warmup=20):
    main = multi_step(lr, gamma)
    return js.ChainedScheduler([js.LinearLR(lr, 0.1, 1.0, warmup), main]) if warmup else main


def epochs_of_steps(lr=0.1, gamma=0.3, length=7):
    return js.per_epoch(js.MultiStepLR(lr, [4, 9, 15], gamma), length)


def epochs_of_cosine(lr=0.1, length=7, adapter=js.per_epoch):
    return adapter(js.CosineAnnealingLR(lr, 23), length)


def epochs_of_warmup(lr=0.1, gamma=0.3, length=7, warmup=3):
    return js.per_epoch(after_warmup(js.MultiStepLR(lr, [4, 9, 15], gamma), lr, warmup), length)


RECIPES = [
    *(step, multi_step, exponential, cosine, one_cycle),
    *(warmup_steps, warmup_cosine, warmup_times_steps),
    *(epochs_of_steps, epochs_of_cosine, epochs_of_warmup),
]
MISTAKES = {  # a name: the diagnosis, what the run's recipe is given, the count that the run is at
    "early": ("read-after-step", {}, lambda c: c + 1),
    "late": ("off-by-one", {}, lambda c: np.maximum(c - 1, 0)),
    "base lr": ("another-base-lr", {"lr": 0.25}, None),
    "gamma": ("another-gamma", {"gamma": 0.5}, None),
    "eta_min": ("another-eta-min", {"eta_min": 0.01}, None),
    "no warmup": ("no-warmup", {"warmup": 0}, None),
    "longer warmup": ("another-warmup", {"warmup": 11}, None),
    "shorter warmup": ("another-warmup", {"warmup": 2}, None),
    "one update fewer": ("steps-per-epoch", {"length": 6}, None),
    "two updates more": ("steps-per-epoch", {"length": 9}, None),
    "epochs for updates": ("epochs-for-updates", {"length": 1}, None),
    "smooth": ("smooth", {"adapter": js.smooth_epochs}, None),
    "restart": ("restart", {}, lambda c: np.where(c < 83, c, c - 83)),
    "back": ("restart", {}, lambda c: np.where(c < 83, c, c - 50)),
}
SIMPLER = {  # one mistake, or none, gives the same log as these two
    ("exponential", "early", "base lr"): ["another-base-lr"],
    ("exponential", "early", "gamma"): ["another-base-lr", "another-gamma"],
    **{
        (recipe, "early", "no warmup"): ["starts-later"]
        for recipe in ("warmup_steps", "warmup_cosine", "epochs_of_warmup")
    },
    ("epochs_of_steps", "epochs for updates", "back"): ["epochs-for-updates"],
    ("epochs_of_warmup", "epochs for updates", "back"): ["epochs-for-updates"],
    ("epochs_of_cosine", "epochs for updates", "smooth"): ["epochs-for-updates"],
}
COUNTS = np.arange(170)


def planted():
    """Each mistake in each recipe, and each two in two of them: the most composed ones.

    By default each in one recipe, and two together in the simplest.
    """
    kept = collections.Counter()
    for recipe in reversed(RECIPES):
        known = inspect.signature(recipe).parameters
        names = [
            name for name, (_, changed, _) in MISTAKES.items() if known.keys() >= changed.keys()
        ]
        for together in [(name,) for name in names] + list(itertools.combinations(names, 2)):
            arguments = [key for name in together for key in MISTAKES[name][1]]
            if len({*arguments}) < len(arguments) or together in [
                ("early", "late"),
                ("restart", "back"),
            ]:
                continue
            is_one = len(together) == 1
            is_simpler = (recipe.__name__, *together) in SIMPLER
            kept[together] += 1
            is_default = recipe is step if not is_one else kept[together] == 1
            if kept[together] > 2 and not (is_one or is_default or is_simpler):
                continue
            expected = sorted(MISTAKES[name][0] for name in together)
            if recipe is one_cycle:
                expected = [code.replace("base-lr", "max-lr") for code in expected]
            yield pytest.param(
                recipe,
                together,
                SIMPLER.get((recipe.__name__, *together), expected),
                id=f"{recipe.__name__}: {' and '.join(together)}",
                marks=[] if is_default else pytest.mark.slow,
            )


def run(recipe, together, counts):
    arguments = {}
    for name in together:
        _, changed, at = MISTAKES[name]
        arguments |= changed
        counts = at(counts) if at else counts
    return recipe(**arguments)(counts)


@pytest.mark.parametrize(("recipe", "together", "expected"), [*planted()])
def test_a_planted_mistake_is_found_alone_and_with_another(recipe, together, expected):
    lrs = run(recipe, together, COUNTS)
    comparison = js.compare(recipe(), lrs)
    assert not comparison
    assert sorted(codes(comparison)) == expected, str(comparison)
    for finding in comparison.diagnoses:
        assert finding.message.endswith(".") and finding.advice.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "together", "expected"), [*planted()][::4])
def test_a_planted_mistake_is_found_in_float32(recipe, together, expected):
    comparison = js.compare(recipe(), np.float32(run(recipe, together, COUNTS)))
    assert sorted({*codes(comparison)} - {"float32-arithmetic"}) == expected


def test_a_mistake_is_found_in_a_log_with_few_digits():
    for digits, lr in ((".4e", 0.25), (".4f", 0.25), (".3g", 0.25)):
        texts = [f"{lr:{digits}}" for lr in warmup_cosine(lr)(COUNTS)]
        assert codes(js.compare(warmup_cosine(), texts)) == ["another-base-lr"]
    texts = [f"{lr:.4e}" for lr in run(warmup_steps, ("gamma", "late"), COUNTS)]
    assert sorted(codes(js.compare(warmup_steps(), texts))) == ["another-gamma", "off-by-one"]


def test_a_gamma_is_found_in_a_log_of_some_counts():
    log = {"step": COUNTS[::10], "lr": exponential(gamma=0.9)(COUNTS[::10])}
    (finding,) = js.compare(exponential(), log).diagnoses
    assert "gamma=0.9, not 0.95" in finding.message


def test_the_numbers_of_a_mistake_are_told():
    messages = [
        (
            warmup_steps(warmup=33),
            "a warmup of 33 counts, 13 longer than the schedule's, which has",
        ),
        (warmup_steps(lr=0.2), "The log has base_lr=0.2, not 0.1."),
        (warmup_steps(gamma=0.5), "The log has gamma=0.5, not 0.3."),
        (
            js.RecordedLR(np.where(COUNTS < 83, *[warmup_steps()(COUNTS - by) for by in (0, 50)])),
            "From count 83 on the log goes on from count 33.",
        ),
    ]
    for other, message in messages:
        (finding,) = js.compare(warmup_steps(), other(COUNTS)).diagnoses
        assert message in finding.message
    (finding,) = js.compare(epochs_of_steps(), epochs_of_steps(length=6)(COUNTS)).diagnoses
    assert "6 updates in an epoch, not 7" in finding.message


@pytest.mark.parametrize("length", [2, 39])
def test_epochs_for_updates_and_updates_for_epochs(length):
    schedule = js.MultiStepLR(0.1, [4, 9, 15])
    updates = np.arange(20 * length)
    slow = js.compare(schedule, schedule(updates // length))
    assert codes(slow) == ["updates-for-epochs"] and f"={length}" in slow.diagnoses[0].advice
    fast = js.compare(js.per_epoch(schedule, length), schedule(updates))
    assert codes(fast) == ["epochs-for-updates"]
    twice = js.compare(
        schedule, schedule(np.arange(20 * length**2) // length**2), steps_per_epoch=length
    )
    assert codes(twice) == ["updates-for-epochs"]
    for smooth, code in (
        (js.CosineAnnealingLR(0.1, 20 * length), "another-T-max"),  # 20 counts are its whole run
        (js.MultiStepLR(0.1, updates[1::length]), "epochs-for-updates"),
    ):
        rows = smooth(np.arange(20) * length)  # a row for each epoch
        of_epochs = code if length == 2 else "epochs-for-updates"
        assert codes(js.compare(smooth, rows)) == [of_epochs]


def test_one_update_fewer_in_an_epoch_is_found_in_a_smooth_schedule_too():
    smooth = js.smooth_epochs
    other = epochs_of_cosine(length=6, adapter=smooth)(COUNTS)
    assert codes(js.compare(epochs_of_cosine(adapter=smooth), other)) == ["steps-per-epoch"]


def test_a_warmup_that_the_schedule_does_not_have():
    for with_warmup, without in (
        (warmup_steps(), multi_step()),
        (warmup_times_steps(), multi_step()),
        (after_warmup(epochs_of_cosine(), 0.1, 20), epochs_of_cosine()),
    ):
        (finding,) = js.compare(without, with_warmup(COUNTS)).diagnoses
        assert finding.code == "added-warmup" and "20 counts, from 0.01 on" in finding.message


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("by", [-5, 5])
def test_milestones_that_count_from_the_start_of_the_run(length, by):
    def run(*milestones):
        decay = js.MultiStepLR(0.1, milestones)
        decay = js.per_epoch(decay, length) if length > 1 else decay
        return js.SequentialLR([js.LinearLR(0.1, 0.1, 1.0, 5 * length), decay], [5 * length])

    log = run(11 + by, 16 + by)(np.arange(30 * length))
    (finding,) = js.compare(run(11, 16), log).diagnoses
    assert finding.code == "milestones-clock"
    assert f"MultiStepLR {5 * length} counts {'later' if by > 0 else 'earlier'}" in finding.message
    assert f"write milestones=({11 + by}, {16 + by}) here" in finding.advice


@pytest.mark.parametrize("warmup", [0, 3, 9])
def test_another_warmup_with_the_decays_at_the_same_counts(warmup):
    def run(warmup):
        return after_warmup(js.MultiStepLR(0.1, [20 - warmup, 30 - warmup]), 0.1, warmup)

    (finding,) = js.compare(run(5), run(warmup)(np.arange(40))).diagnoses
    assert finding.code == ("another-warmup" if warmup else "no-warmup")
    assert (f"{warmup} counts" if warmup else "the 5 counts of LinearLR") in finding.message


def test_smooth_and_standing_still():
    smooth, still = epochs_of_cosine(adapter=js.smooth_epochs), epochs_of_cosine()
    assert codes(js.compare(still, smooth(COUNTS))) == ["smooth"]
    for moves in (smooth, js.CosineAnnealingLR(0.1, 23 * 7)):
        (finding,) = js.compare(moves, still(COUNTS)).diagnoses
        assert finding.code == "stands-still" and "for 7 counts" in finding.message
    assert codes(js.compare(step(), on_device(optax.exponential_decay(0.1, 30, 0.3), 170))) == [
        "smooth",
        "float32-arithmetic",
    ]
    decay = 0.1 * 0.3 ** (COUNTS / (30 * 2))
    assert codes(js.compare(js.per_epoch(step(), 2), decay)) == ["smooth"]


# -- optax ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, 0.25])
@pytest.mark.parametrize(
    "schedule", [slow_case(js.StepLR(0.1, 1171)), js.per_epoch(js.StepLR(0.1, 1), 1171)], ids=name
)
def test_optaxs_late_boundary_is_seen(schedule, lr):
    lrs = on_device(optax.exponential_decay(lr, 1171, 0.1, staircase=True), 9 * 1171)
    assert lrs[1171] == lrs[1170]
    found = codes(js.compare(schedule, lrs))
    if lr == 0.1:
        assert found == ["optax-late", "float32-arithmetic"]
    else:
        assert found[:2] == ["another-base-lr", "optax-late"]


def test_what_float32_loses_is_not_called_a_mistake():
    decay = optax.warmup_cosine_decay_schedule(0.0, 0.1, 100, 1100)
    lrs = on_device(decay, 1100)
    warmup = js.LinearLR(0.1, 0.0, total_iters=100)
    schedule = js.SequentialLR([warmup, js.CosineAnnealingLR(0.1, 1000)], [100])
    assert codes(js.compare(schedule, lrs)) == ["float32-arithmetic"]
    with standard:
        assert js.compare(decay, lrs), "an optax schedule can be compared, too"
    twice = js.compare(schedule, 2 * lrs)
    assert codes(twice) == ["another-base-lr", "float32-arithmetic"]


def optax_plateau(metrics, **kwargs):
    tx = optax.contrib.reduce_on_plateau(rtol=1e-4, atol=0.0, **kwargs)
    params = jnp.zeros(())

    def step(state, metric):
        _, state = tx.update(params, state, params, value=metric)
        return state, state.scale

    _, scales = jax.lax.scan(step, tx.init(params), jnp.asarray(metrics, jnp.float32))
    return np.concatenate([[1.0], scales])[:-1]


METRICS = [1.0, 0.8, *[0.9] * 5, 0.7, *[0.75] * 6, 0.6, 0.5, *[0.55] * 9]


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 2), pytest.param(3, 0, marks=SLOW)])
def test_optaxs_plateau_is_one_bad_epoch_early(patience, cooldown):
    with standard:
        scales = optax_plateau(METRICS, factor=0.5, patience=patience, cooldown=cooldown)
    assert len({*scales}) > 2
    plateau = js.ReduceLROnPlateau(0.1, factor=0.5, patience=patience, cooldown=cooldown)
    log = {"lr": 0.1 * scales, "val_loss": METRICS}
    assert codes(js.compare(plateau, log)) == ["plateau-early"]
    log["lr"] = 3 * log["lr"]
    assert codes(js.compare(plateau, log)) == ["another-base-lr", "plateau-early"]


@pytest.mark.parametrize(
    "schedule",
    [
        js.OneCycleLR(0.1, epochs=20, steps_per_epoch=7),
        js.SequentialLR([js.LinearLR(0.1), js.OneCycleLR(0.1, epochs=5, steps_per_epoch=7)], [9]),
        js.smooth_epochs(js.CosineAnnealingLR(0.1, 20), 7),
    ],
)
def test_a_schedule_that_names_the_updates_of_an_epoch_is_in_updates(schedule):
    assert js.compare(schedule, schedule(np.arange(140)), steps_per_epoch=7).equal


# -- plateaus ------------------------------------------------------------------------------------


def plateau_log(plateau, metrics):
    state, lrs = plateau.init(), []
    for metric in metrics:
        lrs.append(float(plateau(state)))
        state = plateau.update(state, metric=metric)
    return np.array([*lrs, float(plateau(state))])


def test_a_plateaus_mistakes_are_seen():
    kwargs = {"patience": 2, "factor": 0.5}
    plateau = js.ReduceLROnPlateau(0.1, **kwargs)
    lrs = plateau_log(plateau, METRICS)
    others = {
        "read-after-step": lrs[1:],
        "off-by-one": np.concatenate([lrs[:1], lrs[:-2]]),
        "another-base-lr": plateau_log(js.ReduceLROnPlateau(0.3, **kwargs), METRICS)[:-1],
        "another-factor": plateau_log(js.ReduceLROnPlateau(0.1, patience=2, factor=0.2), METRICS)[
            :-1
        ],
    }
    assert js.compare(plateau, {"lr": lrs[:-1], "loss": METRICS})
    for code, log in others.items():
        comparison = js.compare(
            plateau, {"epoch": np.arange(len(METRICS)) + 1, "lr": log, "loss": METRICS}
        )
        assert codes(comparison) == [code], comparison


def test_a_plateau_is_told_the_last_metric_of_an_epoch():
    plateau = js.ReduceLROnPlateau(0.1, patience=2, factor=0.5)
    lrs = np.repeat(plateau_log(plateau, METRICS)[:-1], 3)
    for places in ([2], [0], [0, 1, 2]):
        rows = [{"lr": lr} for lr in lrs]
        for epoch, metric in enumerate(METRICS):
            for place in places:
                rows[3 * epoch + place]["val_loss"] = metric if place == places[-1] else 9.0
        assert js.compare(plateau, rows, steps_per_epoch=3), places
        assert not js.compare(plateau, rows[:-1] + [{"lr": 9.0}], steps_per_epoch=3)


# -- what fits nothing ---------------------------------------------------------------------------

OTHERS = [*(recipe() for recipe in RECIPES), js.CyclicLR(0.1, 0.3, 11), js.StepLR(0.1, 17)]
POSITIVE = st.floats(1e-6, 1.0)


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(st.sampled_from(OTHERS), st.lists(POSITIVE, min_size=12, max_size=40, unique=True))
def test_random_numbers_are_not_explained(schedule, lrs):
    for log in (lrs, sorted(lrs), sorted(lrs, reverse=True), np.repeat(lrs, 5)):
        comparison = js.compare(schedule, log)
        assert not comparison and comparison.diagnoses == (), str(comparison)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.sampled_from(OTHERS), st.integers(0, 169), POSITIVE)
def test_one_wrong_row_is_named(schedule, row, lr):
    lrs = schedule(COUNTS)
    if abs(lr - lrs[row]) > 1e-5:
        lrs[row] = lr
        comparison = js.compare(schedule, lrs)
        assert comparison.count == row and comparison.found == lr
        assert comparison.num_different == 1
        assert codes(comparison) == ["one-row"] or comparison.schedule(COUNTS) == pytest.approx(lrs)


@pytest.mark.parametrize(
    ("schedule", "other", "found"),
    [
        (cosine(), js.PolynomialLR(0.1, 90), ["another-class"]),
        (cosine(), js.CosineAnnealingWarmRestarts(0.1, 30), ["another-T-max", "another-class"]),
        (multi_step(), js.MultiStepLR(0.1, [30, 60, 110]), ["another-gamma", "another-milestones"]),
        (js.MultiStepLR(0.1, [30]), js.MultiStepLR(0.1, [60]), ["another-milestones"]),
        (one_cycle(), js.OneCycleLR(0.1, 120, pct_start=0.4), ["another-pct-start"]),
    ],
)
def test_what_differs_is_named_and_the_schedule_gives_the_log(schedule, other, found):
    comparison = js.compare(schedule, other(COUNTS))
    assert codes(comparison) == found, str(comparison)
    assert js.compare(comparison.schedule, other(COUNTS)).equal


@pytest.mark.parametrize(
    ("schedule", "other"),
    [
        (epochs_of_cosine(), epochs_of_steps()),
        pytest.param(warmup_cosine(), warmup_steps(), marks=SLOW),
    ],
)
def test_another_schedule_is_read_from_the_log(schedule, other):
    comparison = js.compare(schedule, other(COUNTS))
    assert codes(comparison) == ["another-schedule"], str(comparison)
    assert js.compare(comparison.schedule, other(COUNTS)).equal


def test_what_is_said_of_an_argument_is_said_of_the_schedule_that_was_given():
    comparison = js.compare(step(), exponential()(COUNTS))
    assert "gamma=0.95, not 0.3" in str(comparison)  # and not that of a smooth StepLR


def test_two_last_rows_are_no_restart():
    lrs = multi_step()(COUNTS)
    lrs[-2:] = 0.1
    assert js.compare(multi_step(), lrs).diagnoses == ()


@pytest.mark.parametrize("lrs", [[0.2], [0.2, 0.2], [0.1, 0.05, 0.05]])
def test_a_few_rows_are_not_explained(lrs):
    assert js.compare(js.StepLR(0.1, 1), lrs).diagnoses == ()


# -- errors and sizes ----------------------------------------------------------------------------


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(TypeError, match="`schedule` must be a callable count -> value, got 0.1"):
        js.compare(0.1, [0.1])
    with pytest.raises(ValueError, match="`steps_per_epoch` must be an integer >= 1, got 0"):
        js.compare(step(), [0.1], steps_per_epoch=0)
    with pytest.raises(ValueError, match="must have a column `val_loss`, `metric` or the like"):
        js.compare(js.ReduceLROnPlateau(0.1), [0.1])
    with pytest.raises(ValueError, match="`recorded` must have counts below 2"):
        js.compare(step(), {"epoch": [2**52], "lr": [1]}, steps_per_epoch=2**61)
    with pytest.raises(ValueError, match="counts below 1,000,000 for a function .* got 1,000,000"):
        js.compare(lambda count: 1.0, {"step": [10**6], "lr": [1]})
    with pytest.raises(ValueError, match="`schedule` must be one schedule, got one that holds arr"):
        js.compare(js.StepLR(jnp.array([0.1, 0.2]), 3), [0.1])


def test_a_schedule_of_arrays_is_compared_by_its_numbers():
    schedule = js.clamp(
        js.MultiStepLR(jnp.float32(0.5), jnp.array([2, 4]), np.float32(0.5)), jnp.array(9)
    )
    assert js.compare(schedule, [0.5, 0.5, 0.25, 0.25, 0.125])


def test_nothing_is_said_of_counts_at_which_a_function_is_not_known():
    counts = np.arange(40)
    lrs = np.minimum(2 * counts, 40) + 1.0  # twice as fast, and then held
    comparison = js.compare(js.LambdaLR(1.0, lambda count: count + 1.0), lrs)
    assert codes(comparison) == ["another-schedule"]
    assert js.compare(comparison.schedule, lrs).equal


@pytest.mark.parametrize("num_counts", [100, 2000])
def test_a_function_is_compared_as_an_optimizer_calls_it(num_counts):
    counts = np.arange(num_counts)
    inverse = 0.5 / (counts + 1)
    with standard:
        assert js.compare(lambda count: 0.5 / (count + 1), inverse)
        lambdas = js.LambdaLR(0.5, lambda count: 1 / (count + 1))
        late = js.compare(lambdas, np.concatenate([inverse[:1], inverse[:-1]]))
        other = js.compare(optax.cosine_decay_schedule(0.1, 90), 3 * cosine()(counts[:90]))
    assert codes(late) == ["off-by-one"]
    assert codes(other) == ["another-base-lr", "float32-arithmetic"]


@pytest.mark.slow
@pytest.mark.parametrize("log", [lambda s, c: s(c), lambda s, c: s(c - 1), lambda s, c: np.sin(c)])
def test_a_million_rows_take_seconds(log):
    schedule = js.per_epoch(warmup_steps(), 5005)
    counts = np.arange(10**6)
    lrs = log(schedule, counts)
    start = time.perf_counter()
    js.compare(schedule, lrs)
    assert time.perf_counter() - start < 60


def test_one_row_is_named_so():
    assert str(js.compare(js.StepLR(0.1, 3), [0.1])).startswith("Equal in the only row. ")


GROWS = js.ExponentialLR(0.1, gamma=1e12)  # infinite from count 26 on


def test_an_infinite_learning_rate_is_not_that_of_a_row():
    found = js.compare(GROWS, {"step": range(1000, 1010), "lr": 10 * [0.1]})
    assert (found.equal, found.num_different, found.count) == (False, 10, 1000)
    assert "expected inf, found 0.1, relative difference infinite" in str(found)


@pytest.mark.parametrize("schedule", [js.StepLR(0.1, 3), js.ExponentialLR(0.1, 0.9)])
def test_no_explanation_has_an_infinite_learning_rate(schedule):
    lrs = schedule(np.arange(10))
    found = js.compare(schedule, {"step": range(1000, 1010), "lr": lrs})
    assert [finding.code for finding in found.diagnoses] == ["skipped-updates"]
    np.testing.assert_allclose(found.schedule(np.arange(1000, 1010)), lrs, rtol=2**-23)


def test_two_schedules_may_be_infinite_at_the_same_counts():
    assert js.compare(GROWS, js.ExponentialLR(0.1, gamma=1e12)).equal
    found = js.compare(GROWS, js.ExponentialLR(0.1, gamma=1e13))
    assert not found.equal
    assert [finding.code for finding in found.diagnoses] == ["another-gamma"]


@pytest.mark.parametrize("strategy", ["cos", slow_case("linear")])
@pytest.mark.parametrize("start", [0, 4])
def test_torchs_one_cycle_runs_on_for_one_count(strategy, start):
    schedule = js.OneCycleLR(0.1, 50, anneal_strategy=strategy)
    left = -1 / (49 - 14)  # of the second phase, which ends at count 49; torch is at 50
    factor = np.sin(np.pi / 2 * left) ** 2 if strategy == "cos" else left
    beyond = 0.1 / 25e4 + (0.1 - 0.1 / 25e4) * factor
    if start:
        schedule = js.SequentialLR([js.ConstantLR(0.1), schedule], [start])
    whole = [*schedule(np.arange(start + 50)), beyond]
    found = js.compare(schedule, whole)
    assert found.equal and "torch's after the last update: no update uses it." in str(found)
    assert "no update uses" not in str(js.compare(schedule, schedule(np.arange(start + 60))))
    (finding,) = js.compare(schedule, whole[1:]).diagnoses
    assert finding.code == ("another-warmup" if start else "read-after-step")  # a shorter one
    assert js.compare(schedule, {"step": range(1, start + 51), "lr": whole[1:]}).equal
    assert js.compare(schedule, [*whole, whole[-2]]).count == start + 50  # torch's log ends there
    later = js.compare(schedule, [*whole[:-1], whole[-2], beyond])
    assert (later.equal, later.count) == (False, start + 51)


@pytest.mark.torch
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_the_whole_log_of_torchs_one_cycle_is_equal(strategy, three_phase):
    import torch

    options = {"total_steps": 20, "anneal_strategy": strategy, "three_phase": three_phase}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, **options)
    lrs = scheduler.get_last_lr()
    for _ in range(20):
        optimizer.step()
        scheduler.step()
        lrs += scheduler.get_last_lr()
    schedule = js.OneCycleLR(0.1, **options)
    assert js.compare(schedule, lrs).equal and lrs[20] != pytest.approx(schedule(20), rel=1e-6)
    assert [f.code for f in js.compare(schedule, lrs[1:]).diagnoses] == ["read-after-step"]
