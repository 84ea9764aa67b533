"""The benchmarks: what they count and compare."""

import os
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
from benchmarks import accuracy, clock, program, timing
from benchmarks.family import adapters, family, in_optax, jaxsched
from benchmarks.table import Row, at_most, missed, table
from tests.schedules import ARGUMENTS

pytestmark = pytest.mark.slow

COUNT = [jnp.int32(3)]
DESCRIBED = family(1000)


def text(function):
    return program.lowered(function, COUNT).compile().as_text()


def operations(function):
    return [operation for _, operation in program.instructions(text(function))]


def test_instructions_are_counted_inside_fusions_too():
    one, two = operations(lambda c: c + 1), operations(lambda c: (c + 1) * c)
    assert one.count("add") == two.count("add") == 1
    assert two.count("multiply") == 1 and "multiply" not in one
    assert "fusion" in two and program.count(lambda c: (c + 1) * c) == len(two)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda c: c + 1, []),
        (lambda c: jax.lax.while_loop(lambda x: x < 9, lambda x: x + c, 0), "while"),
        (
            lambda c: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), jnp.int32), c),
            "custom",
        ),
        (lambda c: jnp.searchsorted(jnp.arange(9), c), "while"),
    ],
)
def test_loops_and_callbacks_are_found(function, found):
    names = program.leaves_the_device(program.lowered(function, COUNT))
    assert any(found in name for name in names) if found else names == []


def test_constants_are_weighed():
    table = np.linspace(0, 1, 1000, dtype=np.float32)
    assert 4000 <= program.constant_bytes(text(lambda c: jnp.asarray(table)[c])) <= 4040
    assert program.constant_bytes(text(lambda c: c)) == 0


def test_a_further_argument_of_the_program_is_a_transfer():
    def with_table(sgd, arguments):
        return lambda *args: sgd(*args[:-1]), (*arguments, jnp.ones(9))

    sgd, arguments = program.update(js.StepLR(0.1, 3))
    layouts = [
        program.layout(jax.jit(f, keep_unused=True).lower(*a).compile().as_text())
        for f, a in ((sgd, arguments), with_table(sgd, arguments))
    ]
    assert layouts[0] != layouts[1]


def test_a_schedule_adds_what_it_computes():
    assert program.added(optax.constant_schedule(0.1)).ours < program.added(js.StepLR(0.1, 3)).ours
    assert program.added(js.StepLR(0.1, 3)).wrong == []


def test_a_cosine_that_ends_adds_at_most_twice_what_optaxs_does():
    ours = program.added(js.clamp(js.CosineAnnealingLR(0.1, 1000), 1000)).ours
    with jax.numpy_dtype_promotion("standard"):
        optaxs = program.added(optax.cosine_decay_schedule(0.1, 1000)).ours
    assert ours <= 2 * optaxs


def test_both_sides_are_timed_in_turn():
    calls = []
    timing.versus(lambda: calls.append("a"), lambda: calls.append("b"), rounds=4, burst=0)
    assert "".join(calls[-8:]) == "baabbaab"


def test_the_ratio_is_ours_over_theirs():
    work = np.arange(10_000)
    v = timing.versus(lambda: [work.sum() for _ in range(50)], lambda: work.sum(), rounds=9)
    assert v.ratio > 5 and v.ours > v.theirs > 0


def test_distances_are_in_steps_of_float32():
    one = np.float64(1)
    near = np.nextafter(np.float32(1), np.float32(2))
    for got, worst, same in ((1.0, 0, 1), (near, 1, 0), (np.nan, np.inf, 0)):
        score = accuracy.score(np.array([got], np.float64), np.array([one]))
        assert (score.worst, score.same) == (worst, same)
    across = accuracy.score(np.array([-1e-45]), np.array([1e-45]))
    assert across.worst == 2


def test_a_case_is_near_if_all_its_values_are():
    torch = np.array([0.1, 0.2, 0.0])
    assert accuracy.score(torch.astype(np.float32).astype(np.float64), torch).near == 1
    for wrong in (0.1001, np.nan):
        assert accuracy.score(np.array([wrong, 0.2, 0.0]), torch).near == 0


def test_late_boundaries_are_found():
    late = accuracy.late_boundaries(lambda n: js.StepLR(1.0, n + (n == 7), 0.5), [5, 7])
    assert late == [0, 100]


def test_every_class_has_a_schedule_and_optax_its_nearest():
    names = {type(jaxsched(*d)).__name__ for d in DESCRIBED.values()}
    names |= {type(s).__name__ for s in adapters().values()}
    assert names == ARGUMENTS.keys()
    with jax.numpy_dtype_promotion("standard"):
        for name, description in DESCRIBED.items():
            if theirs := in_optax(*description):
                count = 1000 if name == "CosineAnnealingWarmRestarts" else 400
                np.testing.assert_allclose(theirs(count), jaxsched(*description)(count), 0.02)


def test_the_highest_ratio_is_held_against_the_goal():
    found = {"low": (0.5, 1, 2), "high": (1.5, 3, 2)}
    assert at_most("calls", 1.5, found) == Row(
        "calls", "1.50", "at most 1.5", True, "high: 3 over 2"
    )
    row = at_most("calls", 1.0, found, limit="nothing: 0.9")
    assert missed([row, Row("GPU", "not measured", "1", None)]) == ["calls"]
    assert "**missed**<br><sub>limit: nothing: 0.9</sub>" in table([row])


# -- on a device, by the clock: here on the CPU, in a short form -----------------------------------


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def beside_optax(rows):
    for row in rows:
        assert row.measured != "not measured" and row.met is not None
        assert re.search(r"optax: (\d|NaN)|optax's", f"{row.small} {row.what}"), row
    return [float(row.measured.rstrip("%")) for row in rows]


def test_traces_run_through_the_devices_own_arithmetic(standard_promotion):
    near, same, worst = beside_optax(clock.traces(names=("StepLR",)))
    assert (near, same, worst) == (100, 100, 0)
    (*_, row) = clock.traces(lambda: True, ("StepLR", "CosineAnnealingLR"))
    assert row.small.endswith("1 of 2 classes")


def test_updates_and_calls_are_timed_beside_optaxs(standard_promotion):
    rows = [*clock.updates(1, 8), *clock.jitted(1), *clock.eager(1)]
    assert all(0 < ratio < 100 for ratio in beside_optax(rows))


def test_the_examples_are_timed_beside_optaxs(standard_promotion):
    rows = [*clock.train(1, 1), *clock.resnet(1, (1,), batch=8, width=4)]
    assert all(0 < ratio < 100 for ratio in beside_optax(rows))
    assert rows[-1].small.endswith("images a second")


def report(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(clock.RESULTS.read_text())
    return path


def test_where_there_is_no_such_device_it_says_so_and_measures_nothing(tmp_path, capsys):
    path = report(tmp_path)
    before = path.read_text()
    for kind in ("gpu", "tpu"):
        assert clock.main(kind, [pytest.fail], path) == 2
        message = f"JAX sees no {kind.upper()} here, but cpu: not measured\n"
        assert capsys.readouterr().err == message
    assert path.read_text() == before


def one_row():
    return [Row("a call", "1.00", "1", True, "optax: 2.00")]


def fails():
    raise MemoryError("of the device")


def test_rows_stand_in_a_section_of_their_own_which_the_next_run_replaces(tmp_path):
    path = report(tmp_path)
    before = path.read_text()
    assert clock.main("cpu", [one_row], path) == 0
    after = path.read_text()
    assert after.startswith(before.rstrip()) and after.count("## On a CPU, by the clock\n") == 1
    assert f"jax {jax.__version__}, " in after and "| a call | 1.00<br>" in after
    assert clock.main("cpu", [one_row], path) == 0
    assert path.read_text() == after
    assert clock.sections(after, ["cpu"])["cpu"] in after
    assert clock.sections(after)["gpu"] in before  # and the others stay


def test_a_part_that_fails_costs_no_other_its_row(tmp_path, capsys):
    path = report(tmp_path)
    assert clock.main("cpu", [fails, one_row], path) == 1
    rows = clock.sections(path.read_text(), ["cpu"])["cpu"]
    assert "| fails | not measured<br><sub>MemoryError</sub> |" in rows and "| a call |" in rows
    assert "MemoryError: of the device" in capsys.readouterr().err


def test_what_the_time_does_not_suffice_for_is_not_measured():
    rows, is_whole = clock.rows_of([one_row], limit=-1)
    assert not is_whole and rows[0].measured == "not measured" and rows[0].small == "TimeoutError"


BARE = """
import sys
for name in ("sklearn", "matplotlib", "tqdm", "PIL", "tensorboardX"):
    sys.modules[name] = None
from benchmarks import clock
module = clock.example("resnet")
assert module.Program and clock.example("train").Net
assert all(sys.modules[name] is None for name in ("sklearn", "matplotlib", "tqdm"))
"""


def test_the_examples_are_there_without_what_they_draw_and_read_with():
    line, env = [sys.executable, "-c", BARE], os.environ | {"JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[1]
    process = subprocess.run(line, env=env, cwd=root, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_as_a_program_it_ends_with_2_where_there_is_no_such_device(kind):
    line, env = [sys.executable, "-m", f"benchmarks.{kind}"], os.environ | {"JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[1]
    process = subprocess.run(line, env=env, cwd=root, capture_output=True, text=True)
    assert process.returncode == 2
    assert f"JAX sees no {kind.upper()} here, but cpu: not measured" in process.stderr
