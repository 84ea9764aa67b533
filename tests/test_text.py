"""parse: a schedule from its text, and one line that points at the column where it is none."""

import argparse
import warnings

import pytest
from hypothesis import given, strategies as st

import jaxsched as js
from tests.schedules import LONG, SHORT

WITHOUT_FUNCTIONS = [s for s in SHORT + LONG if "<function" not in repr(s)]


@pytest.mark.parametrize(
    "schedule", [*WITHOUT_FUNCTIONS, js.ReduceLROnPlateau(0.1, "max")], ids=repr
)
def test_what_prints_is_read_back(schedule):
    assert js.parse(repr(schedule)) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "per_epoch(MultiStepLR(0.1, [100, 150]), 391)",
        "  js.per_epoch(jaxsched.MultiStepLR(0.1, (100, 150)), steps_per_epoch=391) ",
        "per_epoch(\n\tMultiStepLR(0.1, [100, 150]),\n\tsteps_per_epoch=391,\n)",
        "per_epoch(MultiStepLR(0.1, [1e2, 150]), steps_per_epoch(50_000, 128, drop_last=False))",
    ],
)
def test_the_ways_to_write_it(text):
    assert js.parse(text) == js.per_epoch(js.MultiStepLR(0.1, [100, 150]), 391)


REFUSED = {
    "3": "column 1: expected a schedule, as in MultiStepLR(0.1, [100, 150])",
    "[StepLR(0.1, 3)]": "column 1: expected a schedule, as in MultiStepLR(0.1, [100, 150])",
    "MultiStepLR(0.1, [100, x])": "column 24: expected a number, a list or a schedule, got x",
    "é(0.1)": "column 1: jaxsched has no schedule é; expected one of ",
    "StepLr(0.1, 3)": "column 1: jaxsched has no schedule StepLr; did you mean StepLR?",
    "np.StepLR(0.1, 3)": "column 1: expected the name of a schedule before the parenthesis",
    "js.js.StepLR(0.1, 3)": "column 1: expected the name of a schedule before the parenthesis",
    "StepLR(optimizer, 3)": "column 8: write the learning rate, as 0.1, where torch has",
    "  StepLR(0.1, 0)": "column 15: `step_size` must be an integer >= 1, got 0",
    "StepLR(0.1, step_size=0)": "column 23: `step_size` must be an integer >= 1, got 0",
    "clamp(StepLR('é', 3), 4)": "column 14: `base_lr` must be a finite number >= 0, got 'é'",
    "StepLR(0.1, 3, n=1)": "column 18: StepLR got an unexpected keyword argument 'n'",
    "StepLR(0.1)": "column 1: StepLR missing 1 required positional argument: 'step_size'",
    "StepLR(0.1, 3, gamma=1, gamma=2)": "column 31: `gamma` stands there twice",
    "StepLR(0.1, *[3])": "column 13: a * has no meaning here",
    "StepLR(0.1, **{})": "column 15: a ** has no meaning here",
    "StepLR(0.1, 3": "column 7: '(' was never closed",
    "": "column 1: expected a schedule, as in MultiStepLR",
    "  ": "column 3: expected a schedule, as in MultiStepLR",
    "StepLR(0.1, 3); 1": "column 15: invalid syntax",
    "StepLR(10**9, 3)": "column 8: expected a number, a list or a schedule, got 10**9",
    "StepLR(-inf, 3)": "column 8: expected a number, a list or a schedule, got -inf",
    "StepLR(1e999, 3)": "column 8: `base_lr` must be a finite number >= 0, got inf",
    f"StepLR(1{'0' * 400}, 3)": "column 8: `base_lr` must be a finite number >= 0, got 10000",
    "LambdaLR(0.1, lambda count: 1)": "column 15: expected a number, a list or a schedule, got lam",
    "LambdaLR(0.1, StepLR(0.1, 3), horizon=3000000000)": "column 15: text holds no functions: make "
    "the LambdaLR in Python",
    "MultiplicativeLR(0.1, horizon=3000000000, lr_lambda=StepLR(0.1, 3))": "column 53: text holds",
    "CyclicLR(0.1, 0.2, 3, scale_fn=StepLR(1.0, 3))": "column 32: text holds no functions",
    "__import__('os').system('true')": "column 1: expected the name of a schedule",
    "StepLR(print(3), 3)": "column 8: jaxsched has no schedule print; expected one",
    "StepLR(0.1, 3)\0": "column 1: ",
    "StepLR(0.1, \ud800)": "column 1: ",
    "(" * 10_000: "column 201: too many nested parentheses",
    "-" * 100_000 + "1": "column 1: this is no Python: ",
    "a" + ".a" * 100_000 + "()": "column 1: this is no Python: ",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:30]))
def test_an_error_is_one_line_that_points_at_the_column(text):
    with pytest.raises(ValueError) as caught:
        js.parse(text)
    message = str(caught.value)
    assert message.startswith(REFUSED[text]) and "\n" not in message


def test_text_is_a_string():
    with pytest.raises(TypeError, match="`text` must be a string, got 3"):
        js.parse(3)


PIECES = [
    *"( ) [ ] , = - . js 0.1 3 1or 0x 'a' \" \\d # * { } lambda :".split(),
    " ",
    "\n",
    "\0",
    "é",
]
NAMES = ["StepLR", "MultiStepLR", "per_epoch", "SequentialLR", " ", "\n", "\0", "é", "\ud800"]


@given(st.lists(st.sampled_from([*NAMES, *PIECES])).map("".join) | st.text())
def test_no_text_does_anything_else(text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            js.parse(text)
        except ValueError as error:
            assert str(error).startswith("column ") and "\n" not in str(error)
    assert not caught


@pytest.mark.parametrize("text", ['StepLR("é", x)', "StepLR('\N{GRINNING FACE}ü', x)"])
def test_a_column_is_one_of_characters_and_not_of_bytes(text):
    with pytest.raises(ValueError, match=f"^column {text.index('x)') + 1}: "):
        js.parse(text)


def test_argparse_shows_the_reason(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedule", type=js.parse)
    assert parser.parse_args(["--schedule", "StepLR(0.1, 3)"]).schedule == js.StepLR(0.1, 3)
    for text, reason in {
        "StepLR(0.1, 0)": "column 13: `step_size` must be an integer >= 1, got 0",
        "StepLR(0.1": "column ",
        "steplr(0.1, 3)": "column 1: ",
        "": "column 1: ",
    }.items():
        with pytest.raises(SystemExit):
            parser.parse_args(["--schedule", text])
        assert f"argument --schedule: {reason}" in capsys.readouterr().err
