"""What `compare` reads: every form of a log gives the same rows, and nothing else than an error."""

import json
import os
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import jaxsched as js
from jaxsched._desk.logs.record import read_log

LRS = [0.1, 0.05, 0.025]
STEPS = [0, 50, 100]


class Frame:
    """As much of a DataFrame as is asked for: pandas' and polars'."""

    def __init__(self, columns):
        self.columns = list(columns)
        self.values = columns

    def __getitem__(self, name):
        return np.asarray(self.values[name])


MEMORY = {
    "a list": LRS,
    "a generator": (lr for lr in LRS),
    "lists of one, as get_last_lr() gives": [[lr] for lr in LRS],
    "texts": ["0.1", " 5e-2", "+.025 "],
    "NumPy": np.array(LRS),
    "NumPy float32": np.array(LRS, np.float32),
    "JAX": jnp.array(LRS),
    "JAX scalars": [jnp.float32(lr) for lr in LRS],
    "a column of one group": np.array(LRS)[:, None],
    "a mapping": {"loss": "of no interest", "lr": LRS},
    "a mapping of arrays": {"learning_rate": np.array(LRS)},
    "rows": [{"lr": lr} for lr in LRS],
    "rows with evaluations between": [{"lr": 0.1}, {"acc": 1}, {"lr": 0.05}, {"lr": 0.025}],
    "a DataFrame": Frame({"a": ["x"] * 3, "lr": LRS}),
    "a DataFrame with empty cells": Frame({"lr": [np.nan, 0.1, np.nan, 0.05, 0.025]}),
}


@pytest.mark.parametrize("name", MEMORY)
def test_every_form_in_memory_gives_the_learning_rates(name):
    record = read_log(MEMORY[name])
    np.testing.assert_allclose(record.lrs, LRS, rtol=1e-7)
    assert record.labels is None and not record.slack.any()


CSV = "step,lr\n0,0.1\n50,0.05\n100,0.025\n"
ROWS = [{"step": step, "lr": lr} for step, lr in zip(STEPS, LRS, strict=True)]
FILES = {
    "commas": CSV,
    "tabs": CSV.replace(",", "\t"),
    "semicolons": CSV.replace(",", ";"),
    "spaces": CSV.replace(",", " , "),
    "Windows": "\ufeff" + CSV.replace("\n", "\r\n"),
    "no last line end": CSV.rstrip(),
    "blank lines": CSV.replace("\n", "\n\n"),
    "quotes": '"Step","train/lr"\n"0","0.1"\n"50","0.05"\n"100","0.025"\n',
    "Lightning": "epoch,lr-SGD,step,val_loss\n0,0.1,0,\n0,,49,2.5\n1,0.05,50,\n2,0.025,100,\n",
    "wandb": 'Step,"run - learning_rate"\n0,0.1\n50,0.05\n100,0.025\n',
    "floats as steps": CSV.replace("50,", "50.0,"),
    "JSON lines": "\n".join(map(json.dumps, ROWS)),
    "a list in JSON": json.dumps(ROWS),
    "columns in JSON": json.dumps({"step": STEPS, "lr": LRS, "name": "a run"}),
    "Hugging Face": json.dumps(
        {
            "best_metric": None,
            "log_history": [
                {"epoch": 0.1, "learning_rate": 0.1, "loss": 2.0, "step": 0},
                {"epoch": 0.26, "learning_rate": 0.05, "loss": 2.0, "step": 50},
                {"epoch": 0.26, "eval_loss": 1.0, "step": 50},
                {"epoch": 0.5, "learning_rate": 0.025, "loss": 2.0, "step": 100},
                {"epoch": 0.5, "train_runtime": 3.0, "step": 100},
            ],
        }
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "PathLike"])
def test_every_file_gives_the_learning_rates_and_the_steps(tmp_path, name, kind):
    path = tmp_path / "log"
    path.write_text(FILES[name], newline="")
    record = read_log(kind(path))
    assert (record.lrs.tolist(), record.labels.tolist()) == (LRS, STEPS)
    assert not record.in_epochs


def write_events(folder, columns):
    writer = EventFileWriter(str(folder))
    for tag, values in columns.items():
        for step, value in values.items():
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, summary=summary))
    writer.close()


def test_tensorboards_file_or_folder_is_read(tmp_path):
    lrs = dict(zip(STEPS, LRS, strict=True))
    write_events(tmp_path, {"train/lr": lrs, "acc": {0: 1.0, 7: 0.5}, "val_loss": {50: 3.0}})
    (file,) = tmp_path.iterdir()
    for path in (tmp_path, str(file)):
        record = read_log(path, with_metric=True)
        np.testing.assert_array_equal(record.lrs, np.float32(LRS))
        assert record.labels.tolist() == STEPS
        assert record.metrics == [None, 3.0, None]


def test_without_tensorboard_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, RawEventFileLoader.__module__, None)
    with pytest.raises(ImportError, match="which the package tensorboard reads: pip install"):
        read_log(tmp_path)


def test_epochs_are_the_labels_if_there_are_no_steps():
    record = read_log({"epoch": [0, 1, 2], "lr": LRS})
    assert record.in_epochs and record.labels.tolist() == [0, 1, 2]


def test_a_metric_belongs_to_the_last_row_with_a_learning_rate():
    rows = [{"val_loss": 9}, {"lr": 1, "val_loss": 8}, {"lr": 2}, {"val_loss": 7}, {"lr": 3}]
    record = read_log(rows, with_metric=True)
    assert (record.metric, record.metrics) == ("val_loss", [8.0, 7.0, None])
    assert read_log({"lr": [1], "val/loss": [3], "loss": [4]}, True).metrics == [3.0]
    assert np.isnan(read_log({"lr": [1], "loss": ["nan"]}, True).metrics).all()


@pytest.mark.parametrize(
    ("texts", "slack", "digits"),
    [
        (["0.1000", "0.0854", "0.0001"], [5e-5] * 3, "4 decimals"),
        (["0.1", "0.0854", "0.0146", "0.0012"], [5e-5] * 4, "4 decimals"),  # round(lr, 4)
        (["1.000e-01", "8.536e-02"], [5e-5, 5e-6], "4 digits"),
        (["0.1", "0.08536", "0.01464", "5.123e-05"], [5e-5, 5e-6, 5e-6, 5e-9], "4 digits"),  # %.4g
        (["0.1", "0.01", "1e-3"], [0.0] * 3, ""),  # these are numbers, and not rounded
        (["0.1", "0.010000000000000002"], [0.0] * 2, ""),
        (["0", "0e99999"], [0.0] * 2, ""),
    ],
)
def test_the_digits_are_those_of_the_whole_log(texts, slack, digits):
    record = read_log(texts)
    np.testing.assert_allclose(record.slack, slack)
    assert record.digits == digits


WRONG = {  # in memory
    "no numbers": (3, TypeError, "`recorded` must be numbers, one for each count, or columns"),
    "nothing": (None, TypeError, "got None"),
    "one array": (np.float32(3), TypeError, "`recorded` must be numbers"),
    "a scalar column": ({"lr": 0.1}, TypeError, "`lr` must be numbers, one for each count"),
    "empty": ([], ValueError, "`recorded` must have a row with a number in 'lr'; it has none"),
    "empty cells": ({"lr": ["", None]}, ValueError, "must have a row with a number in 'lr'"),
    "groups": ([[0.1, 0.2]], ValueError, "one number in each row, got .* of one parameter group"),
    "text": ([0.1, "high"], ValueError, "finite numbers in 'lr', got 'high' in row 1"),
    "bool": ([True], ValueError, "finite numbers in 'lr', got True in row 0"),
    "NaN": ([0.1, float("nan")], ValueError, "finite numbers in 'lr', got nan in row 1"),
    "infinite": (["1e999"], ValueError, "finite numbers in 'lr', got '1e999' in row 0"),
    "mixed": ([0.1, {"lr": 1}], ValueError, "finite numbers in 'lr', got {'lr': 1} in row 1"),
    "no lr": ({"step": [1], "loss": [2]}, ValueError, "column `lr` .*; it has 'step', 'loss'"),
    "two": (
        {"lr/0": [1], "lr/1": [2]},
        ValueError,
        "must have one learning rate; it has 'lr/0', 'lr/1'. Give the one that you mean",
    ),
    "lengths": ({"lr": [1, 2], "step": [1]}, ValueError, "one length, got 2 of 'lr' and 1 of 'st"),
    "negative": ({"lr": [1], "step": [-1]}, ValueError, "whole numbers >= 0 in 'step', got -1 in"),
    "fraction": (
        {"lr": [1, 2], "epoch": [0, 0.26]},
        ValueError,
        "whole numbers >= 0 in 'epoch', got 0.26 in row 1; log the `step`",
    ),
    "no step": ({"lr": [1, 2], "step": [0, ""]}, ValueError, "in 'step', got None in row 1"),
    "huge": ({"lr": [1], "step": [2**60]}, ValueError, "whole numbers >= 0 in 'step'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_log_is_named(name):
    recorded, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        read_log(recorded)


WRONG_FILES = {
    "": "cannot be read: it is empty",
    " \n\n": "cannot be read: it is empty",
    "lr\n": "must have a row with a number in 'lr'; it has none",
    "0.1\n0.1\n": "must have a column `lr` or `learning_rate`; it has '0.1'",
    "step,lr\n0,0.1\n1,0.1,7\n": "row 1 has 3 cells where the header has 2",
    "step,lr\n0,0.1\n1\n": "row 1 has 1 cells where the header has 2",
    "lr,lr\n0,0.1\n": "it has two columns 'lr'",
    "lr\n0.1\nnan\n": "finite numbers in 'lr', got 'nan' in row 1",
    '{"lr": 0.1}\n{"lr": \n': "cannot be read: Expecting value: line 2 column 7",
    '{"lr": true}': "finite numbers in 'lr', got True in row 0",
    '{"lr": NaN}': "finite numbers in 'lr', got 'NaN' in row 0",
    '{"log_history": 3}': "cannot be read: `log_history` must be a list",
    '[{"lr": 0.1}, 3]': "cannot be read: each line must be an object",
    "[" * 10**5: "cannot be read: ",
    '"lr\n' + "1" * 200_000: "cannot be read: field larger than field limit",
    "lr\n\0": "cannot be read|finite numbers",
}


@pytest.mark.parametrize("text", WRONG_FILES, ids=lambda text: ascii(text[:20]))
def test_what_is_wrong_in_a_file_is_said(tmp_path, text):
    (tmp_path / "log").write_text(text)
    with pytest.raises(ValueError, match=WRONG_FILES[text]):
        read_log(tmp_path / "log")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text", ["epoch,lr\r\n0,0.5\r\n1,0.25\r\n", "µ epoch: 0 lr: 0.5\nµ epoch: 1 lr: 0.25\n"]
)
def test_a_file_of_windows_is_read(tmp_path, text, encoding):
    (tmp_path / "log").write_bytes(text.encode(encoding))
    assert read_log(tmp_path / "log").lrs.tolist() == [0.5, 0.25]


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.csv"):
        read_log(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="must be of TensorBoard and have scalars; it has none"):
        read_log(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_log(str(tmp_path / "events.out.tfevents.1"))
    (tmp_path / "binary").write_bytes(b"\xff\xfb\x90")
    with pytest.raises(ValueError, match="cannot be read: 'utf-8' codec"):
        read_log(tmp_path / "binary")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="must be a file of at most 256 MiB"):
        read_log(tmp_path / "pipe")  # which would wait for ever
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ValueError, match="must be a file of at most 256 MiB"):
        read_log(tmp_path / "large")


PIECES = [
    *'lr step epoch , ; \t { } [ ] : " 0 1 0.1 1e-3 1e999 nan -1 log_history'.split(" "),
    "\n",
]
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
TEXTS = st.one_of(
    st.binary(),
    st.lists(st.sampled_from(PIECES)).map(lambda pieces: "".join(pieces).encode()),
    st.lists(st.lists(CELLS, max_size=3)).map(
        lambda rows: "\n".join(["step,lr", *(",".join(map(str, row)) for row in rows)]).encode(
            errors="surrogatepass"
        )
    ),
    st.recursive(CELLS, lambda x: st.lists(x) | st.dictionaries(st.sampled_from(PIECES), x)).map(
        lambda value: json.dumps(value).encode()
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_no_file_does_anything_else(tmp_path, data):
    (tmp_path / "log").write_bytes(data)
    try:
        comparison = js.compare(js.StepLR(0.1, 3), tmp_path / "log")
    except (ValueError, TypeError) as error:
        assert str(error)
    else:
        assert str(comparison)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.binary() | st.tuples(st.integers(0, 200), st.binary()), st.integers(0, 100))
def test_no_event_file_does_anything_else(tmp_path, change, length):
    folder = tmp_path / "events"
    if not folder.exists():
        write_events(folder, {"lr": {0: 0.1, 1: 0.1}})
        (file,) = folder.iterdir()
        file.rename(tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    if isinstance(change, tuple):
        at, new = change
        data = good[:at] + new + good[at + len(new) :]
    else:
        data = good[:length] + change
    path = tmp_path / "out.tfevents"
    path.write_bytes(data)
    try:
        read_log(path)
    except (ValueError, TypeError) as error:
        assert str(error)


def test_lightnings_own_step_is_the_count():
    counts, schedule = [0, 50, 100, 150], js.StepLR(0.1, 100)
    lrs = [schedule(count) for count in counts]
    assert js.compare(schedule, {"trainer/global_step": counts, "lr": lrs})
