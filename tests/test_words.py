"""What README and the pages say is so: their tables and limits, read and tried against the code."""

import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from jaxsched._desk.compare import sentences
from jaxsched._desk.curve import MOST_COUNTS
from tests.marks import one_in

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pages"
PAGES = {
    str(path.relative_to(FOLDER).with_suffix("")): path.read_text()
    for path in sorted(FOLDER.rglob("*.md"))
}
PAGES["README"] = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text()
NAMES = {name: getattr(js, name) for name in js.__all__}
NAMES |= {"js": js, "jnp": jnp, "np": np, "sgd": optax.sgd}


def flat(page):
    return " ".join(PAGES[page].split())


def rows(page, heading):
    """The cells of each row of the first table under a heading."""
    text = PAGES[page].partition(f"\n{heading}\n")[2]
    table = re.search(r"(?m)(^\|.*\n)+", text)
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


REFUSED, SAME = "refused", "same"
ARGUMENTS = {  # the first cell of a row of "Odd arguments": calls, and what becomes of each
    "`base_lr` negative": {"StepLR(-0.1, 3)": REFUSED},
    "`base_lr` NaN or infinite": {
        "StepLR(float('nan'), 3)": REFUSED,
        "StepLR(float('inf'), 3)": REFUSED,
    },
    "`base_lr` 0": {"StepLR(0, 3)": SAME},
    "`step_size` 0": {"StepLR(0.1, 0)": REFUSED},
    "`step_size` negative": {"StepLR(0.1, -3)": REFUSED},
    "`step_size` 2.5": {"StepLR(0.1, 2.5)": REFUSED},
    '`step_size` None, "3"; True': {
        "StepLR(0.1, None)": REFUSED,
        "StepLR(0.1, '3')": REFUSED,
        "StepLR(0.1, True)": REFUSED,
    },
    "`gamma` negative": {"StepLR(0.1, 3, -0.1)": REFUSED, "ExponentialLR(0.1, -1)": REFUSED},
    "`gamma` NaN, infinite, None": {
        f"StepLR(0.1, 3, {gamma})": REFUSED for gamma in ("float('nan')", "float('inf')", "None")
    },
    "`gamma` 0, 1, above 1": {f"StepLR(0.1, 3, {gamma})": SAME for gamma in (0, 1, 2)},
    "milestones twice, unsorted, 0, none": {
        f"MultiStepLR(0.1, {m})": SAME for m in ("[3, 3]", "[5, 3]", "[0]", "[]")
    },
    'a milestone -3, 5.5, "5"; True': {
        f"MultiStepLR(0.1, [{m}])": REFUSED for m in ("-3", "5.5", "'5'", "True")
    },
    "milestones 5, [[1]]": {"MultiStepLR(0.1, 5)": REFUSED, "MultiStepLR(0.1, [[1]])": REFUSED},
    "milestones as a tuple, a generator, an array, a range": {
        f"MultiStepLR(0.1, {m})": SAME
        for m in ("(3, 5)", "(n for n in (3, 5))", "np.array([3, 5])", "range(3)")
    },
    "a set of members, of milestones of `SequentialLR`, of `steps_per_epoch`": {
        "SequentialLR({StepLR(0.1, 3), StepLR(0.1, 5)}, [3])": REFUSED,
        "SequentialLR([StepLR(0.1, 3)] * 3, {3, 5})": REFUSED,
        "per_epoch(StepLR(0.1, 3), {3, 5})": REFUSED,
    },
    "a mapping as milestones (optax's `boundaries_and_scales`)": {
        "MultiStepLR(0.1, {100: 0.5})": REFUSED
    },
    "`factor` of `ConstantLR`, `end_factor` of `LinearLR` outside of [0, 1]": {
        "ConstantLR(0.1, -0.1)": REFUSED,
        "ConstantLR(0.1, 1.1)": REFUSED,
        "LinearLR(0.1, end_factor=1.1)": REFUSED,
    },
    "`start_factor` of `LinearLR` outside of (0, 1]": {
        "LinearLR(0.1, 1.1)": REFUSED,
        "LinearLR(0.1, -0.1)": REFUSED,
        "LinearLR(0.1, 0)": SAME,
    },
    "`total_iters` negative or 2.5": {
        "LinearLR(0.1, total_iters=-1)": REFUSED,
        "ConstantLR(0.1, total_iters=2.5)": REFUSED,
    },
    "`power` of `PolynomialLR` negative": {"PolynomialLR(0.1, 5, -1)": REFUSED},
    "`T_max` 0; negative; 2.5": {f"CosineAnnealingLR(0.1, {n})": REFUSED for n in (0, -3, 2.5)},
    "`eta_min` above `base_lr`": {"CosineAnnealingLR(0.1, 3, 0.2)": SAME},
    "`eta_min` negative": {
        "CosineAnnealingLR(0.1, 3, -0.1)": REFUSED,
        "CosineAnnealingWarmRestarts(0.1, 3, eta_min=-0.1)": REFUSED,
    },
    "`swa_lr` negative": {"SWALR(0.1, -0.1)": REFUSED},
    "`T_0` or `T_mult` below 1, or no integers": {
        f"CosineAnnealingWarmRestarts(0.1, {n})": REFUSED for n in ("0", "2.5", "3, 0", "3, 1.5")
    },
    "an integer written as a float (5.0, 1e4)": {"StepLR(0.1, 5.0)": SAME, "StepLR(1, 1e4)": SAME},
    "`CyclicLR`: a wrong mode, `step_size_up` 0 or negative, `step_size_down` negative": {
        f"CyclicLR(0.1, 0.2, {n})": REFUSED for n in ("mode='x'", "0", "-1", "3, -1")
    },
    "`CyclicLR`: `step_size_down=0`; `max_lr` below `base_lr`": {
        "CyclicLR(0.1, 0.2, 3, 0)": SAME,
        "CyclicLR(0.1, 0.05)": SAME,
    },
    "`CyclicLR`: `max_lr` is `base_lr`": {"CyclicLR(0.001, 0.001, 1.0, 2000)": SAME},
    "`CyclicLR`, `OneCycleLR`: `max_lr` or a momentum negative": {
        "CyclicLR(0.1, -0.2)": REFUSED,
        "OneCycleLR(-0.1, 10)": REFUSED,
        "CyclicLR(0.1, 0.2, base_momentum=-1)": REFUSED,
        "OneCycleLR(0.1, 10, max_momentum=-1)": REFUSED,
    },
    "`OneCycleLR`: `div_factor` or `final_div_factor` 0; negative": {
        f"OneCycleLR(0.1, 10, {name}={n})": REFUSED
        for name in ("div_factor", "final_div_factor")
        for n in (0, -5)
    },
    "`OneCycleLR`: `total_steps` beside `epochs` and `steps_per_epoch` that are another length, or "
    "one of them alone": {
        "OneCycleLR(0.1, 1.0, 1000)": REFUSED,
        "OneCycleLR(0.1, 1.0, epochs=10, steps_per_epoch=100)": REFUSED,
        "OneCycleLR(0.1, 10, steps_per_epoch=10)": REFUSED,
        "OneCycleLR(0.1, 1000, 10, 100)": SAME,
    },
    "`OneCycleLR`: `total_steps` 1": {"OneCycleLR(0.1, 1)": SAME},
    "`OneCycleLR`: no length, a length below 1, `pct_start` outside of [0, 1], a wrong "
    "`anneal_strategy`": {
        f"OneCycleLR(0.1{n})": REFUSED
        for n in ("", ", 0", ", epochs=3", ", 9, pct_start=1.1", ", 9, anneal_strategy='x'")
    },
    "`SWALR(anneal_epochs=0)`": {"SWALR(0.1, 0.01, 0)": SAME},
    "`SequentialLR`: a wrong number of milestones, no members, a plateau inside": {
        "SequentialLR([StepLR(0.1, 3)], [3])": REFUSED,
        "SequentialLR([], [])": REFUSED,
        "SequentialLR([StepLR(0.1, 3), ReduceLROnPlateau(0.1)], [3])": REFUSED,
    },
    "`SequentialLR`: milestones negative, fractional, not increasing": {
        f"SequentialLR([StepLR(0.1, 3), StepLR(0.1, 3), StepLR(0.1, 3)], [{m}])": REFUSED
        for m in ("-1, 3", "1.5, 3", "3, 3", "5, 3")
    },
    "`SequentialLR`: milestone 0": {"SequentialLR([StepLR(0.1, 3), StepLR(0.1, 3)], [0])": SAME},
    "`ReduceLROnPlateau`: `factor` 1 or more, or below 0; a wrong mode; `patience` negative": {
        f"ReduceLROnPlateau(0.1, {n})": REFUSED
        for n in ("factor=1", "factor=-0.1", "mode='x'", "patience=-1")
    },
    "`ReduceLROnPlateau`: `threshold`, `cooldown`, `min_lr` or `eps` negative": {
        f"ReduceLROnPlateau(0.1, {n}=-1)": REFUSED
        for n in ("threshold", "cooldown", "min_lr", "eps")
    },
    '`ReduceLROnPlateau`: a negative metric with `mode="min"` and `threshold_mode="rel"`': {
        "ReduceLROnPlateau(0.1)": SAME
    },
    "`lr_lambda` not callable": {"LambdaLR(0.1, 0.5)": REFUSED},
    "a count of 2,147,483,648 or more in `set_count`, `resume_from_torch`": {
        "set_count(sgd(StepLR(0.1, 3)).init(1.0), 2**31)": REFUSED,
        "resume_from_torch(sgd(StepLR(0.1, 3)).init(1.0), {'last_epoch': 2**31})": REFUSED,
    },
    "`steps_per_epoch` 0, negative, fractional": {
        f"per_epoch(StepLR(0.1, 3), {n})": REFUSED for n in (0, -1, 2.5)
    },
    "an adapter (`per_epoch`, `smooth_epochs`) around something that holds one": {
        "per_epoch(per_epoch(StepLR(0.1, 3), 3), 3)": REFUSED,
        "smooth_epochs(per_epoch(StepLR(0.1, 3), 3), 3)": REFUSED,
    },
}


def test_each_odd_argument_of_the_table_has_a_test():
    assert [row[0] for row in rows("coming-from-pytorch", "## Odd arguments")] == [*ARGUMENTS]


@pytest.mark.parametrize("row", rows("coming-from-pytorch", "## Odd arguments"), ids=lambda r: r[0])
def test_an_odd_argument_is_taken_as_the_table_says(row):
    argument, torchs, ours = row
    says = torchs if ours.startswith("same") else ours
    is_error = says.startswith(REFUSED) or "Error" in says
    assert (is_error and REFUSED in ARGUMENTS[argument].values()) or SAME in ARGUMENTS[
        argument
    ].values()
    for code, expected in ARGUMENTS[argument].items():
        if expected == REFUSED:
            assert is_error, code
            with pytest.raises((TypeError, ValueError)):
                eval(code, dict(NAMES))
        else:
            assert not is_error or "accepted" in says or "unless" in says or "another" in argument
            eval(code, dict(NAMES))
            if "js.check" in ours:
                (finding,) = js.check(eval(code, dict(NAMES)), 1)
                assert finding.code == "cycle-stands-still"


PORTS = [
    row[:2]
    for page in ("README", "coming-from-pytorch")
    for row in rows(page, "## Port a recipe" if page == "README" else "```")
    if re.match(r"`\w+LR\(optimizer", row[0])
]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", PORTS, ids=lambda row: row[0])
def test_a_row_of_the_port_table_is_the_same_schedule(row):
    import torch

    torchs, ours = (re.fullmatch(r"`(.*?)`.*", cell).group(1) for cell in row)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    names = vars(torch.optim.lr_scheduler) | {"optimizer": optimizer}
    if "warmup" in torchs:
        names |= {
            "warmup": names["LinearLR"](optimizer, 0.5),
            "decay": names["StepLR"](optimizer, 2),
        }
    scheduler = eval(torchs, names)
    warmup, decay = js.LinearLR(0.1, 0.5), js.StepLR(0.1, 2)
    schedule = eval(ours, {"js": js, "warmup": warmup, "decay": decay})
    if "Plateau" in torchs:
        assert schedule.patience == scheduler.patience == 5
        return
    for count in range(20):
        assert schedule(count) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        scheduler.step()


def test_a_cycle_takes_no_learning_rate_of_the_optimizer():
    for page in ("README", "coming-from-pytorch"):
        assert "`CyclicLR` and `OneCycleLR`" in flat(page) and "only leave the optimizer out" in (
            flat(page)
        )
    with pytest.raises(ValueError, match=r"`total_steps` must stand alone, .*OneCycleLR\(1.0, 100"):
        js.OneCycleLR(0.1, 1.0, 1000)


def formula(name):
    section = PAGES["family"].partition(f"\n### {name}\n")[2].partition("\n#")[0]
    return [
        re.search(rf"(?m)^\| {key} \| `([^`]*)`", section)[1] for key in ("jaxsched", "formula")
    ]


FORMULAS = "StepLR LinearLR ExponentialLR CosineAnnealingLR SWALR PolynomialLR MultiplicativeLR"


@pytest.mark.parametrize("name", one_in(3, FORMULAS.split()))
def test_a_formula_of_the_family_holds_at_every_count(name):
    assert "T is `total_iters`, `anneal_epochs` or `horizon - 1`, and m is `min(n, T)`" in (
        flat("family")
    )
    code, text = formula(name)
    product = "math.prod(map(lr_lambda, range(1, m + 1)))"
    text = text.replace("lr_lambda(1) * ... * lr_lambda(m)", product)
    schedule = eval(code, {"js": js})
    values = dict(schedule.__getstate__())
    T = values.get("total_iters", values.get("anneal_epochs", values.get("horizon", 1) - 1))
    values |= {"lr": schedule.base_lr, "T": T, "math": math, "sin": math.sin, "pi": math.pi}
    values |= {key.removesuffix("_factor"): value for key, value in values.items()}
    for n in range(2500):
        assert eval(text, values | {"n": n, "m": min(n, T)}) == pytest.approx(
            schedule(n), rel=1e-9, abs=1e-15
        )


def test_the_residue_is_of_linear_lr():
    differences = rows("coming-from-pytorch", "## What differs from torch")
    (row,) = [row for row in differences if "residue" in " ".join(row)]
    assert row[0] == "`LinearLR(end_factor=0)` from `total_iters` on" and row[2] == "exactly 0"
    assert {js.LinearLR(0.1, end_factor=0, total_iters=n)(n) for n in range(1, 200)} == {0.0}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_torch_has_the_residue_and_the_wrong_cycle():
    import torch

    def at(make, counts, step):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler, lrs = make(optimizer), []
        for count in range(1, counts + 1):
            scheduler.step(*[count] * step)
            lrs.append(optimizer.param_groups[0]["lr"])
        return lrs

    of = torch.optim.lr_scheduler
    linear = [at(lambda o, n=n: of.LinearLR(o, end_factor=0, total_iters=n), n, 0) for n in (3, 9)]
    assert all(0 < abs(lrs[-1]) < 1e-17 for lrs in linear)
    for n in (3, 7, 9, 100):
        assert at(lambda o, n=n: of.CosineAnnealingLR(o, n), n, 0)[-1] == 0
    words = "wrong at some epochs, from a logarithm of floats: at 111 for `T_0=1, T_mult=10`"
    assert words in flat("coming-from-pytorch")
    assert "wrong at some epochs: at 111, for T_0=1 and T_mult=10." in " ".join(
        js.CosineAnnealingWarmRestarts.__doc__.split()
    )
    lrs = at(lambda o: of.CosineAnnealingWarmRestarts(o, 1, 10), 111, 1)
    ours = js.CosineAnnealingWarmRestarts(0.1, 1, 10)
    wrong = [n for n, lr in enumerate(lrs, 1) if not math.isclose(lr, ours(n), abs_tol=1e-12)]
    assert wrong == [111] and lrs[-1] == 0 and ours(111) == 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # optax's own
def test_the_optimizers_without_a_schedule_are_those_that_the_page_names():
    def takes(make, schedule):
        params = {"w": jnp.ones((2, 2))}
        try:
            tx = make(learning_rate=schedule)
            tx.update(params, tx.init(params), params)
        except (TypeError, ValueError):
            return False
        return True

    words = re.search(r"((?:`\w+`,? ?(?:and )?)+) take none \(optax", flat("using")).group(1)
    named = re.findall(r"`(\w+)`", words)
    plain = [
        name
        for name, make in vars(optax).items()
        if inspect.isfunction(make)
        and not name.startswith(("_", "scale_by"))
        and [p.name for p in inspect.signature(make).parameters.values() if p.default is p.empty]
        == ["learning_rate"]
    ]
    schedule = js.StepLR(0.1, 3)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        none = [name for name in plain if not takes(getattr(optax, name), schedule)]
        theirs = [n for n in plain if not takes(getattr(optax, n), optax.constant_schedule(0.1))]
        assert len(plain) > 15 and sorted(none) == sorted(theirs) == sorted(named)
        for name in named:
            assert takes(optax.inject_hyperparams(getattr(optax, name)), schedule)


def test_what_is_exact_is_said_once():
    promised = dict(row for row in rows("exactness", "## What is promised"))
    assert promised["the others, float32"] == "99.99% to the last bit, and none more than 1 ULP off"
    for page in ("README", "index"):
        words = "float32 to the last bit in at least 99.99% of all values, and 1 ULP off in the "
        assert f"{words}others" in flat(page)


def test_a_product_of_two_float32_is_up_to_2_ulp_away():
    assert "may be up to 2 ULP (units in the last place) away from torch's" in flat("cookbook")
    warmups, factors = 0.1 * np.linspace(0.1, 1, 997)[:, None], 0.1 * np.linspace(0.5, 9, 991)
    got = np.float32(warmups) * np.float32(factors)
    expected = np.float32(warmups * factors)
    assert np.abs(got.view(np.int32) - expected.view(np.int32)).max() == 2


def test_speed_says_what_was_measured():
    words = r"a table is at most (\d+), a formula at most (\d+), .* power (\d+)\."
    said = re.search(words, flat("speed")).groups()
    assert list(said) == re.findall(r"TPU: instructions beside .* \| (\d+)<br>", RESULTS)
    table = RESULTS.partition("## By schedule")[2].partition("\n## ")[0]
    by_schedule = re.findall(r"(?m)^\| [^|]+(?:\|[^|]+){4}\| (\d+) \|", table)
    assert 140 < max(map(int, by_schedule)) <= 150 and "up to some 150" in flat("speed")


def test_the_limit_of_counts_is_the_one_on_the_page():
    assert f"at most {MOST_COUNTS:,}." in flat("command-line")


@pytest.mark.parametrize("page", PAGES)
def test_a_call_of_steps_per_epoch_in_a_sentence_runs(page):
    for code in re.findall(r"`(js\.steps_per_epoch\([^`]*\))`", flat(page)):
        if "..." not in code and "num_examples" not in code and "schedule" not in code:
            assert eval(code, {"js": js}) >= 1
    assert "steps_per_epoch(..., accumulate" not in PAGES[page]
    assert "jaxsched[" not in PAGES[page]  # it is on no index


EXPORTED = """
import jax, jax.export, jax.numpy as jnp, optax, jaxsched as js
tx, params = optax.sgd(js.StepLR(0.1, 3), momentum=0.9), jnp.ones(3)
exported = jax.export.export(jax.jit(tx.update))(params, tx.init(params))
try:
    exported.serialize()
except ValueError as error:
    assert "unregistered type" in str(error) and "optax" in str(error)
for state in (optax.EmptyState, optax.TraceState, optax.ScaleByScheduleState):
    name = f"optax.{state.__name__}"
    jax.export.register_namedtuple_serialization(state, serialized_name=name)
exported.serialize()
"""


@pytest.mark.slow
def test_export_of_an_update_needs_what_the_page_says():
    assert "register optax's own classes first" in flat("resume")
    done = subprocess.run([sys.executable, "-c", EXPORTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_code_of_compare_is_in_its_docstring_and_on_its_page():
    """Those that are written in full in the code; that of an argument is another-ARGUMENT."""
    code = inspect.getsource(sentences)
    codes = {*re.findall(r'Finding\(\s*"([a-z0-9-]+)"', code)} - {"another-base-lr"}
    codes |= {*re.findall(r'"([a-z0-9-]+)",\n            [f"]', code)} - {"another-base-lr"}
    codes.add("another-ARGUMENT")
    table = " ".join(row[0] for row in rows("compare", "## What a difference looks like"))
    assert {*re.findall(r"`([^`]+)`", table)} == codes
    block = inspect.cleandoc(js.compare.__doc__).partition("where there is one:")[2].split("```")[1]
    named = " ".join(line[:22] for line in block.splitlines() if line[:1].strip())
    assert {*re.findall(r"[\w-]+", named)} - {"text"} == codes


def test_the_citation_is_of_this_version():
    assert f"\nversion: {js.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_readme_is_short():
    assert len(PAGES["README"].split()) < 900
