"""Every block of code in the docs runs, and every recipe gives torch's learning rates."""

import doctest
import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.marks import slow_case
from tests.traces import cookbook

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pages"
PAGES = {
    str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.rglob("*.md"))
}
PAGES["README"] = ROOT / "README.md"
NO_PYTHON = ("sh", "text", "{eval-rst}", "{toctree}")
CONFIG_SYSTEMS = ["draccus", "gin", "hydra", "ml_collections", "omegaconf", "pydantic"]
CONFIG_SYSTEMS += ["simple_parsing", "tyro"]
NOT_RUN = {"torch", "tensorboard", *CONFIG_SYSTEMS}
"""Titles of blocks that are compiled only. `torch` runs in the torch leg, if in the cookbook or the
recipes, and config systems in the port leg."""
STORED = {
    name: np.repeat(*zip(*[(float.fromhex(value), times) for value, times in runs], strict=True))
    for name, runs in json.loads(cookbook.FILE.read_text()).items()
    if name not in ("torch", "weights")
}


@pytest.fixture(autouse=True)
def standard_promotion():
    # As readers run: and most of optax fails under the strict ones.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def run(page):
    """The names that a page's blocks leave behind, heading by heading."""
    path, names, after = PAGES[page], {"__name__": page}, {}
    flags = doctest.NORMALIZE_WHITESPACE
    runner = doctest.DebugRunner(verbose=False, optionflags=flags)
    for block in cookbook.blocks(path.read_text()):
        where = f"{page}.md, line {block.line + 1}: {block.heading}"
        if block.title:
            assert block.title in NOT_RUN, where
            is_session = block.code.startswith(">>> ")
            code = doctest.script_from_examples(block.code) if is_session else block.code
            compile(code, where, "exec")
        elif block.code.startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(
                block.code, names, where, str(path), block.line
            )
            runner.run(test, clear_globs=False)
            names |= test.globs
        else:
            exec(compile("\n" * block.line + block.code, str(path), "exec"), names)
        after[block.heading] = dict(names)
    return after


CHECKED = {  # a page: its schedules, the counts of their run, the updates in an epoch
    "using": [("schedule", 8 * 200, 200)],
    "index": [("schedule", 200 * 391, 391)],
    "epochs": [("own_clock", 90 * 391, 391), ("product", 90 * 391, 391)],
}


# The gallery also runs when the site is built, the cookbook in test_check and test_recipes.
SLOW = {*"compare configs cookbook from-torch look surprises sweeps".split()}
SLOW |= {page for page in PAGES if page.startswith("gallery/")}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES]
)
def test_every_block_runs_and_no_fault_is_found_with_its_schedules(page):
    (*_, names) = run(page).values() or [{}]
    for name, num_counts, steps in CHECKED.get(page, ()):
        assert js.check(names[name], num_counts, steps_per_epoch=steps) == [], name


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_is_seen(page):
    text = PAGES[page].read_text()
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", text, re.MULTILINE)
    opened = fences[::2]
    assert len(fences) % 2 == 0 and not any(fences[1::2])
    python = [fence for fence in opened if fence and not fence.startswith(NO_PYTHON)]
    assert len(python) == len(cookbook.blocks(text)), python
    assert not re.search(r"(?m)^ *>>> ", re.sub(r"(?ms)^```.*?^```$", "", text))


def test_the_api_has_every_public_name():
    pages = "".join(path.read_text() for page, path in PAGES.items() if page.startswith("api/"))
    entries = re.findall(r"^\.\. auto(?:class|function):: jaxsched\.(\w+)$", pages, re.MULTILINE)
    assert sorted(entries) == sorted(js.__all__)


def test_every_page_is_linked_and_every_link_leads_somewhere():
    for page, path in PAGES.items():
        folder, _, name = page.rpartition("/")
        parent = PAGES[f"{folder}/index" if folder and name != "index" else "index"]
        if page not in ("README", "index"):
            entry = page if parent == PAGES["index"] else name
            assert f"\n{entry}\n" in re.search(r"(?s)```\{toctree\}.*", parent.read_text()).group()
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), target


NAMES = """
import numpy as np, optax, jaxsched as js
warmup, decay = js.LinearLR(0.1, 0.01, total_iters=500), js.MultiStepLR(0.1, [60, 100], gamma=0.4)
first, second, schedule, steps_per_epoch = warmup, decay, js.CosineAnnealingLR(0.1, 9), 391
last_count, T_max = 7, 9
values, noam, lr_lambda = [0.1, 0.2], (lambda count: 1 / (count + 1)), (lambda step: 0.5)
num_training_steps, num_updates = 20, 20
plateau = optax.inject_hyperparams(optax.sgd)(js.ReduceLROnPlateau(0.1))
opt_state = optax.chain(optax.scale_by_schedule(schedule), plateau).init(np.float32([0]))
metric = val_loss = 1.0
"""


@pytest.mark.parametrize("page", PAGES)
def test_every_schedule_named_in_a_sentence_or_a_table_can_be_made(page):
    text = re.sub(r"(?ms)^```.*?^```$|<!--.*?-->", "", PAGES[page].read_text())
    names = {}
    exec(NAMES, names)
    for code in re.findall(r"`(?:opt_state = )?(js\.\w+\([^`]*)`", text):
        if "..." not in code:
            eval(" ".join(code.split()), names)


def test_the_family_has_a_section_and_a_picture_of_each_schedule():
    drawn = {path.stem for path in (ROOT / "examples" / "pictures").glob("*.svg")}
    section = (
        r"(?s)\n### (\w+)\n\n!\[[^]]*\]\(\S*/(\w+)\.svg\)\n\n[^#]*?\| jaxsched \| `js\.(\w+)\("
    )
    rows = re.findall(section, PAGES["family"].read_text())
    assert {name for name, *_ in rows} == drawn - {"by_hand"}
    assert all(name == picture == called for name, picture, called in rows)


STEPS = 12
DIFFERENCES = {  # a row of "what differs": torch's scheduler, what it does, ours, what that does
    "start_factor 0": (
        "LinearLR(optimizer, 0, total_iters=2)",
        ValueError,
        "js.LinearLR(0.5, 0, total_iters=2)",
        [0.0, 0.25, 0.5, 0.5],
    ),
    "factor 0": (
        "ConstantLR(optimizer, 0, total_iters=2)",
        ZeroDivisionError,
        "js.ConstantLR(0.5, 0, total_iters=2)",
        [0.0, 0.0, 0.5, 0.5],
    ),
    "total_iters 0": (
        "LinearLR(optimizer, 0.5, total_iters=0)",
        [0.25, 0.25, 0.25],
        "js.LinearLR(0.5, 0.5, total_iters=0)",
        ValueError,
    ),
    "past the end of OneCycleLR": (
        "OneCycleLR(optimizer, 0.5, total_steps=4, div_factor=2, final_div_factor=2)",
        ValueError,
        "js.OneCycleLR(0.5, total_steps=4, div_factor=2, final_div_factor=2, pct_start=0.5)",
        [0.25, 0.5, 0.3125, 0.125, 0.125, 0.125],
    ),
    "a first phase of no length": (
        "OneCycleLR(optimizer, 0.5, total_steps=10, pct_start=0.1)",
        ZeroDivisionError,
        "js.OneCycleLR(0.5, total_steps=10, pct_start=0.1)",
        ValueError,
    ),
    "MultiplicativeLR later": (
        "SequentialLR(optimizer, [StepLR(optimizer, 1, 0.5),"
        " MultiplicativeLR(optimizer, lambda n: 0.5)], [2])",
        [0.5, 0.25, 0.125, 0.0625],
        "js.SequentialLR([js.StepLR(0.5, 1, 0.5),"
        " js.MultiplicativeLR(0.5, lambda n: 0.5, horizon=9)], [2])",
        [0.5, 0.25, 0.5, 0.25],
    ),
    "SWALR later": (
        "SequentialLR(optimizer, [StepLR(optimizer, 1, 0.5),"
        " SWALR(optimizer, 0.125, 2, 'linear')], [2])",
        [0.5, 0.25, 0.25, 0.1875, 0.125],
        "js.SequentialLR([js.StepLR(0.5, 1, 0.5), js.SWALR(0.5, 0.125, 2, 'linear')], [2])",
        [0.5, 0.25, 0.5, 0.3125, 0.125],
    ),
    "nested": (
        "SequentialLR(optimizer, [SequentialLR(optimizer, [StepLR(optimizer, 9),"
        " StepLR(optimizer, 1, 0.5)], [2]), StepLR(optimizer, 9)], [4])",
        [0.5, 0.5, 0.25, 0.125, 0.5],
        "js.SequentialLR([js.SequentialLR([js.StepLR(0.5, 9), js.StepLR(0.5, 1, 0.5)], [2]),"
        " js.StepLR(0.5, 9)], [4])",
        [0.5, 0.5, 0.5, 0.25, 0.5],
    ),
    "ChainedScheduler first": (
        "SequentialLR(optimizer, [ChainedScheduler([ExponentialLR(optimizer, 0.5)]),"
        " StepLR(optimizer, 9)], [2])",
        [0.25, 0.125, 0.5],
        "js.SequentialLR([js.ChainedScheduler([js.ExponentialLR(0.5, 0.5)]), js.StepLR(0.5, 9)],"
        " [2])",
        [0.5, 0.25, 0.5],
    ),
    "ChainedScheduler later": (
        "SequentialLR(optimizer, [StepLR(optimizer, 9),"
        " ChainedScheduler([StepLR(optimizer, 1, 0.5)])], [2])",
        NotImplementedError,
        "js.SequentialLR([js.StepLR(0.5, 9), js.ChainedScheduler([js.StepLR(0.5, 1, 0.5)])], [2])",
        [0.5, 0.5, 0.5, 0.25],
    ),
    "other members of ChainedScheduler": (
        "ChainedScheduler([StepLR(optimizer, 9), LambdaLR(optimizer, lambda n: 0.5)])",
        [0.25, 0.25],
        "js.ChainedScheduler([js.StepLR(0.5, 9), js.LambdaLR(0.5, lambda n: 0.5)])",
        ValueError,
    ),
}


@pytest.mark.parametrize("row", DIFFERENCES)
def test_what_differs_is_so_here(row):
    _, _, code, expected = DIFFERENCES[row]
    if isinstance(expected, type):
        with pytest.raises(expected):
            eval(code, {"js": js})
    else:
        schedule = eval(code, {"js": js})
        np.testing.assert_allclose([schedule(n) for n in range(len(expected))], expected)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", DIFFERENCES)
def test_what_differs_is_so_in_torch(row):
    import torch

    code, expected, _, _ = DIFFERENCES[row]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
    names = vars(torch.optim.lr_scheduler) | {"SWALR": torch.optim.swa_utils.SWALR}

    def lrs(counts):
        scheduler = eval(code, names | {"optimizer": optimizer})
        for _ in range(counts):
            yield optimizer.param_groups[0]["lr"]
            scheduler.step()

    if isinstance(expected, type):
        with pytest.raises(expected):
            list(lrs(STEPS))
    else:
        np.testing.assert_allclose([*lrs(len(expected))], expected)


def recipe(heading):
    return run("cookbook")[heading]


def assert_torchs(schedule, heading, repeat=1):
    """At every update: to the last bit of float32 on the device, and in double on the host."""
    expected = np.repeat(STORED[heading], repeat)
    counts = np.arange(len(expected))
    np.testing.assert_array_equal(jax.jit(schedule)(jnp.asarray(counts)), np.float32(expected))
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-11, atol=1e-17)


@pytest.mark.parametrize(
    ("heading", "name", "repeat"),
    [
        ("ResNet with warmup", "schedule", 1),
        ("ResNet, one step an epoch", "schedule", 1251),
        ("Hugging Face: linear with warmup", "schedule", 1),
        ("Hugging Face: linear with warmup", "as_it_is", 1),
        ("Hugging Face: cosine with warmup", "schedule", 1),
        ("Hugging Face: constant with warmup", "schedule", 1),
        ("Noam", "schedule", 1),
        ("Noam", "without_horizon", 1),
        ("Warmup, stable, decay (WSD)", "schedule", 1),
        ("Two `.step()` on one optimizer", "schedule", 100),
    ],
)
def test_the_recipe_gives_torchs_learning_rate_at_every_update(heading, name, repeat):
    assert_torchs(recipe(heading)[name], heading, repeat)


def test_two_steps_in_two_units_give_torchs():
    heading = "Two `.step()` on one optimizer"
    assert_torchs(recipe(heading)["mixed"], f"{heading}: two units")


def learning_rates(tx):
    """What the recipe's optimizer uses at each update, told torch's losses after each epoch."""
    params = jnp.ones(1)

    @jax.jit
    def epoch(state, metric):
        def update(state, _):
            updates, state = tx.update(jnp.ones(1), state, params)
            return state, updates[0]

        state, updates = jax.lax.scan(update, state, length=cookbook.UPDATES)
        return js.observe(state, metric), -updates

    state, lrs = tx.init(params), []
    for metric in cookbook.VAL_LOSSES:
        state, used = epoch(state, metric)
        lrs.append(used)
    return np.concatenate(lrs)


PLATEAU = "Warmup, then plateau"


@pytest.mark.parametrize("eps", [False, slow_case(True)])
def test_warmup_then_plateau_gives_torchs(eps):
    code = [b.code for b in cookbook.blocks(cookbook.PAGE.read_text()) if b.heading == PLATEAU]
    code = "".join(code[1:]).replace("momentum=0.9", "momentum=None")
    assert cookbook.EPS[0] in code
    names = {"jax": jax, "jnp": jnp, "optax": optax, "js": js}
    exec(code.replace(*cookbook.EPS) if eps else code, names)
    expected = np.float32(STORED[f"{PLATEAU}: eps" if eps else PLATEAU])
    assert len({*expected[500:]}) == (2 if eps else 3)  # the cuts, and the last one to min_lr
    np.testing.assert_array_equal(learning_rates(names["lower"]), expected)
    for name in ("tx", "shorter"):
        np.testing.assert_array_max_ulp(learning_rates(names[name]), expected, maxulp=1)


def test_clipping_and_accumulation_give_torchs_learning_rates_and_weights():
    heading = "Gradient clipping and accumulation"
    tx, schedule = recipe(heading)["tx"], recipe(heading)["schedule"]
    params = {name: jnp.asarray(value) for name, value in cookbook.INITIAL.items()}

    def loss(params, x, y):
        return jnp.square(x @ params["weight"].T + params["bias"] - y).mean()

    @jax.jit
    def step(params, state, x, y):
        updates, state = tx.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    lrs, weights = [], [[*params["weight"][0], *params["bias"]]]
    for i, (x, y) in enumerate(cookbook.batches()):
        params, state = step(params, state, jnp.asarray(x), jnp.asarray(y))
        weights.append([*params["weight"][0], *params["bias"]])
        if i % 4 == 3:  # the update has been done, and its learning rate is known
            lrs += 4 * js.get_last_lr(state, schedule)
    stored = json.loads(cookbook.FILE.read_text())["weights"]
    np.testing.assert_allclose(weights, stored, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.float32(lrs), np.float32(STORED[heading][: len(lrs)]))


def test_saved_by_orbax_it_goes_on_as_in_torch():
    heading = "Save and restore with Orbax"
    names = recipe(heading)
    np.testing.assert_array_equal(names["lrs_before"] + names["lrs_after"], STORED[heading])


def test_early_stopping_stops_where_torchs_loop_does():
    names = recipe("Early stopping")
    np.testing.assert_array_equal(names["lrs"], STORED["Early stopping"])
    assert len(names["lrs"]) < len(names["val_losses"])


def test_the_csv_holds_torchs_learning_rates():
    heading = "Log to TensorBoard and CSV"
    rows = recipe(heading)["path"].read_text().splitlines()
    assert rows[0] == "update,lr"
    got = [float(row.split(",")[1]) for row in rows[1:]]
    np.testing.assert_array_equal(got, STORED[heading])


def test_every_recipe_has_a_test():
    headings = {b.heading for b in cookbook.blocks(cookbook.PAGE.read_text())} - {"Cookbook"}
    assert headings == {name.removesuffix(": eps").removesuffix(": two units") for name in STORED}


@pytest.mark.torch
def test_torch_here_still_gives_the_stored_values():
    stored = json.loads(cookbook.FILE.read_text())
    made = cookbook.make()
    np.testing.assert_allclose(made.pop("weights"), stored.pop("weights"), rtol=1e-5)
    assert json.loads(json.dumps(made)) == stored
