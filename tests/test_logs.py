"""The logs that trainers and loggers write: read rightly or refused, never equal by mistake."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import jaxsched as js
from jaxsched._desk.command import main
from jaxsched._desk.logs.columns import EPOCHS, STEPS, is_learning_rate, ranked
from jaxsched._desk.logs.record import read_log

PAGE = (Path(__file__).parents[1] / "docs" / "pages" / "compare.md").read_text()
LENGTH = 100  # updates in an epoch
COSINE = js.CosineAnnealingLR(0.1, 1000)  # in updates: no two of its values are equal
EPOCHS_OF_COSINE = js.per_epoch(js.CosineAnnealingLR(0.1, 12), LENGTH)
DECAY = js.MultiStepLR(0.1, [50, 70])


@pytest.fixture(autouse=True, scope="module")
def only_verdicts():
    """Why a log differs is asked in test_compare.py: it takes long."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("explain", "_from_nothing"):
            patch.setattr(f"jaxsched._desk.compare.compare.{name}", lambda *_: None)
        yield


def lines(rows):
    return "".join(f"{row}\n" for row in rows)


def events(folder, columns):
    writer = EventFileWriter(str(folder))
    for step, tag, value in columns:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(step=step, summary=summary))
    writer.close()
    return folder


# -- what the field writes: each log is of the learning rates that `lr` gives at the true counts --


def trainer_state(lr, late=1):
    steps = range(50, 1000, 50)
    history = [
        {"epoch": s / 400, "grad_norm": 1.2, "learning_rate": lr(s - late), "loss": 0.5, "step": s}
        for s in steps
    ]
    history += [{"epoch": 2.4, "eval_loss": 0.3, "step": 950}, {"step": 950, "train_loss": 1.0}]
    state = {"epoch": 2.4, "global_step": 950, "logging_steps": 50, "log_history": history}
    return json.dumps(state, indent=2)


def old_trainer_state(lr):
    return trainer_state(lr, late=0)


def lightning(lr):
    head = "epoch,lr-SGD,lr-SGD-momentum,lr-SGD-weight_decay,step,train_loss"
    rows = [[f",{lr(s)},0.9,0.0005,{s},", f"{s // 391},,,,{s},2.3"] for s in range(49, 1000, 50)]
    return lines([head, *sum(rows, [])])


def ultralytics(lr):
    head = "                  epoch,      train/box_loss,   lr/pg0,   lr/pg1,   lr/pg2"
    row = "{:19d},   1.25,  {:.7g},  {:.7g},  {:.7g}"
    return lines([head, *(row.format(e + 1, *[lr(e * LENGTH)] * 3) for e in range(10))])


def wandb_csv(lr):
    name = "resnet-lr0.1 - train/learning_rate"
    head = f'"train/global_step","{name}","{name}__MIN","{name}__MAX"'
    return lines([head, *(f'"{s}","{lr(s)}","{lr(s)}","0.9"' for s in range(0, 1000, 10))])


def wandb_history(lr):
    rows = enumerate(range(0, 1000, 10))
    return lines(
        json.dumps({"_step": i, "_runtime": 3.5, "train/global_step": s, "train/lr": lr(s)})
        for i, s in rows
    )


def mmengine(lr):
    steps = [391 * e + i for e in range(3) for i in range(50, 391, 50)]
    rows = [{"lr": lr(s - 1), "loss": 2.5, "epoch": s // 391 + 1, "step": s} for s in steps]
    rows.insert(7, {"coco/bbox_mAP": 0.1, "step": 1})
    return lines(map(json.dumps, rows))


def mmcv(lr):
    rows = [
        {"mode": "train", "epoch": e + 1, "iter": i, "lr": lr(e * LENGTH + i - 1)}
        for e in range(9)
        for i in range(20, LENGTH, 20)
    ]
    rows.insert(4, {"mode": "val", "epoch": 1, "iter": 77, "lr": 0.5, "bbox_mAP": 0.1})
    return lines(map(json.dumps, rows))


def keras(lr):
    head = "epoch,accuracy,learning_rate,loss"
    return lines([head, *(f"{e},0.5,{np.float32(lr((e + 1) * LENGTH))},2" for e in range(9))])


def keras_by_epochs(lr):
    head = "epoch,accuracy,learning_rate,loss"
    return lines([head, *(f"{e},0.5,{np.float32(lr(e * LENGTH))},2" for e in range(9))])


def timm_summary(lr):
    head = "epoch,train_loss,eval_loss,eval_top1,lr"
    return lines([head, *(f"{e},2.5,2.4,50.1,{lr(e * LENGTH)}" for e in range(9))])


def detr(lr):
    rows = [
        {"train_lr": lr(e * LENGTH), "train_loss": 2.5, "epoch": e, "n_parameters": 41302368}
        for e in range(9)
    ]
    return lines(map(json.dumps, rows))


def tensorboard_csv(lr):
    head = "Wall time,Step,Value"
    return lines([head, *(f"{1.7e9 + s},{s},{np.float32(lr(s))}" for s in range(0, 999, 10))])


def tensorboard_json(lr):
    return json.dumps([[1.7e9 + s, s, float(np.float32(lr(s)))] for s in range(0, 999, 10)])


def mlflow(lr):
    rows = [[f"loss,2.5,{s},17", f"learning_rate,{lr(s)},{s},17"] for s in range(0, 999, 10)]
    return lines(["key,value,step,timestamp", *sum(rows, [])])


def detectron2(lr):
    return lines(json.dumps({"iteration": s, "lr": lr(s), "eta": 2}) for s in range(19, 999, 20))


def llama_factory(lr):
    return lines(
        json.dumps({"current_steps": s, "total_steps": 1000, "loss": 2.5, "lr": lr(s)})
        for s in range(10, 1000, 10)
    )


def composer(lr):
    rows = ({"time/batch": s, "lr-DecoupledAdamW/group0": lr(s)} for s in range(0, 999, 10))
    return lines(json.dumps({"_step": i, **row}) for i, row in enumerate(rows))


def fairseq(lr):
    head = "2024-05-01 10:00:00 | INFO | fairseq_cli.train | "
    config = "{'_name': None, 'optimization': {'max_update': 1000, 'lr': [0.1]}, 'seed': 1}"
    rows = [
        {"epoch": 1, "update": s / 400, "loss": "13.9", "num_updates": str(s), "lr": f"{lr(s):.6g}"}
        for s in range(100, 1000, 100)
    ]
    rows = [f"2024-05-01 10:00:09 | INFO | train_inner | {json.dumps(row)}" for row in rows]
    return lines([head + config, *rows])


def fairseq_simple(lr):
    row = "2024-05-01 | INFO | train_inner | epoch 001:    {0} / 1000 loss=13.9, num_updates={0}, "
    return lines(f"{row.format(s)}lr={lr(s):.6g}, gnorm=2.9" for s in range(100, 999, 100))


def megatron(lr):
    row = (
        " [2024-05-01 10:00:00] iteration {0:8d}/    1000 | consumed samples:  {0}00 | elapsed time"
        " per iteration (ms): 1234.5 | learning rate: {1:.6E} | global batch size:   100 | lm loss:"
        " 1.1E+01 |"
    )
    rows = (row.format(s, lr(s)) for s in range(10, 1000, 10))
    return lines(["using world size: 8, data-parallel size: 8", *rows])


def torchtune(lr):
    return lines(f"Step {s} | loss:1.62 lr:{lr(s)} tokens_per_second:300.1" for s in range(1, 99))


def deepspeed(lr):
    row = (
        "[2024-05-01 10:00:00,1] [INFO] [Rank 0] step={}, skipped=0, lr=[{}, {}], mom=[(0.9, 0.9)]"
    )
    return lines(row.format(s, lr(s), lr(s)) for s in range(10, 999, 10))


def mmengine_text(lr):
    row = "2024/05/01 - mmengine - INFO - Epoch(train)  [{}][{:3d}/{}]  lr: {:.5e}  eta: 0:01:00"
    return lines(
        row.format(e + 1, i, LENGTH, lr(e * LENGTH + i - 1))
        for e in range(9)
        for i in range(20, LENGTH, 20)
    )


def timm_text(lr):
    row = "Train: {} [{:4d}/{} (  3%)]  Loss: 6.95 (6.95)  Time: 1.2s  LR: {:.5e}  Data: 0.1"
    return lines(
        row.format(e, i, LENGTH, lr(e * LENGTH + i)) for e in range(9) for i in range(0, LENGTH, 50)
    )


ENDS = js.per_epoch(COSINE, 1)  # names a length, and so is not taken to be in epochs
FORMATS = [  # what writes it, the schedule, how it is compared, what the notes say
    (trainer_state, COSINE, {}, ["numbered from 1: the first one is count 49. Read otherwise, 19"]),
    (old_trainer_state, COSINE, {}, ["The first one is count 50. Read otherwise, 19 of them"]),
    (lightning, COSINE, {}, ["The learning rates are in 'lr-SGD'."]),
    (ultralytics, EPOCHS_OF_COSINE, {}, ["'lr/pg1', 'lr/pg2', which are equal", "from 1"]),
    (wandb_csv, COSINE, {}, ["train/learning_rate'. 'train/global_step' counts the rows."]),
    (wandb_history, COSINE, {}, ["in 'train/lr'. 'train/global_step' counts the rows."]),
    (mmengine, COSINE, {}, ["numbered from 1: the first one is count 49."]),
    (mmcv, ENDS, {"steps_per_epoch": LENGTH}, ["'iter' starts again", "1 rows are pa"]),
    (keras, ENDS, {"steps_per_epoch": LENGTH}, ["is read after the last update of its epoch"]),
    (keras_by_epochs, EPOCHS_OF_COSINE, {}, ["The rows are epochs of 100 updates"]),
    (timm_summary, EPOCHS_OF_COSINE, {}, ["'epoch' counts the rows."]),
    (detr, EPOCHS_OF_COSINE, {}, ["rates are in 'train_lr'. 'epoch' counts the rows."]),
    (tensorboard_csv, COSINE, {}, ["The learning rates are in 'Value'."]),
    (tensorboard_json, COSINE, {}, ["The learning rates are in 'Value'."]),
    (mlflow, COSINE, {}, []),
    (detectron2, COSINE, {}, ["'iteration' counts the rows."]),
    (llama_factory, COSINE, {}, ["'current_steps' counts the rows.", "The first one is count 10."]),
    (composer, COSINE, {}, ["in 'lr-DecoupledAdamW/group0'. 'time/batch' counts the rows."]),
    (fairseq, COSINE, {}, ["9 of 10 lines of text", "'num_updates' counts the rows", "6 digits"]),
    (fairseq_simple, COSINE, {}, ["9 of 9 lines of text have a learning rate and a step"]),
    (megatron, COSINE, {}, ["99 of 100 lines of text", "'iteration' counts the rows"]),
    (torchtune, COSINE, {}, ["98 of 98 lines", "The first one is count 1."]),
    (deepspeed, COSINE, {}, ["The first one is count 10."]),
    (mmengine_text, COSINE, {}, ["'iter' starts again in each epoch of 100 updates."]),
    (timm_text, COSINE, {}, ["'iter' starts again in each epoch of 100 updates."]),
]


@pytest.fixture
def compared(tmp_path):
    def compare(schedule, text, **options):
        path = tmp_path / "log"
        path.write_text(text, newline="")
        return js.compare(schedule, path, **options)

    return compare


@pytest.mark.parametrize(
    ("write", "schedule", "options", "notes"), FORMATS, ids=[f[0].__name__ for f in FORMATS]
)
def test_a_true_log_is_equal_and_a_wrong_one_is_not(compared, write, schedule, options, notes):
    comparison = compared(schedule, write(schedule), **options)
    assert comparison.equal, str(comparison)
    for note in notes:
        assert note in " ".join(comparison.notes), str(comparison)

    def once(count, seen=[]):  # one row, in the middle
        seen.append(count)
        return schedule(count) * (1.01 if len({*seen}) == 5 and count == seen[-1] else 1)

    wrong = {
        "never decays": lambda count: 0.1,
        "one row": once,
        "late": lambda count: schedule(max(count - 30, 0)),
        "early": lambda count: schedule(count + 30),
        "starts again": lambda count: schedule(count % 60),
    }
    if schedule is EPOCHS_OF_COSINE:
        wrong["late"] = lambda count: schedule(max(count - LENGTH, 0))
        wrong["early"] = lambda count: schedule(count + 2 * LENGTH)
    for name, lr in wrong.items():
        if schedule is EPOCHS_OF_COSINE and name == "late" and write is ultralytics:
            continue  # which is the other reading of a log that is numbered from 1
        other = compared(schedule, write(lr), **options)
        assert not other.equal, f"{name}: {other}"


@pytest.mark.parametrize("tag", ["train/learning_rate", "lr-AdamW", "learning-rate"])
def test_tensorboards_events(tmp_path, tag):
    def written(name, lr):
        rows = [(s, tag, lr(s)) for s in range(0, 999, 10)]
        metrics = [(s, "learning-rate vs samples", 7.0) for s in range(0, 999, 10)]
        return events(tmp_path / name, rows + metrics)

    comparison = js.compare(COSINE, written("true", COSINE))
    said = f"The learning rates are in {tag!r}." in comparison.notes
    assert comparison.equal and said == (tag != "learning-rate")
    assert not js.compare(COSINE, written("wrong", lambda count: 0.1))


def test_keras_tensorboard_has_epochs_for_steps(tmp_path):
    rows = [(e, "epoch_learning_rate", EPOCHS_OF_COSINE(e * LENGTH)) for e in range(9)]
    comparison = js.compare(EPOCHS_OF_COSINE, events(tmp_path, rows))
    assert comparison and "The steps of 'epoch_learning_rate' are epochs." in str(comparison)


def test_the_files_of_a_resumed_run_are_one_log(tmp_path):
    for name, steps in (("a", range(0, 60, 5)), ("b", range(40, 100, 5))):
        folder = events(tmp_path / name, [(s, "lr", DECAY(s)) for s in steps])
        (file,) = folder.iterdir()
        file.rename(tmp_path / f"events.out.tfevents.{name}")
        folder.rmdir()
    comparison = js.compare(DECAY, tmp_path)
    assert comparison and comparison.num_rows == 20
    assert "4 more are left out, because the run wrote them again." in comparison.notes


def test_metrics_of_another_writer_stand_at_their_steps(tmp_path):
    rows = [(s, "lr", 0.1 - s / 1000) for s in (0, 10, 20)]
    record = read_log(events(tmp_path, rows + [(s, "val_loss", s) for s in (0, 15, 20)]), True)
    assert record.metrics == [0.0, 15.0, 20.0]


# -- columns -------------------------------------------------------------------------------------


def named(row):
    (cell,) = re.findall(rf"(?m)^\| {row}[^|]*\| ([^|]*) \|$", PAGE)
    return re.findall("`([^`]+)`", cell)


def test_the_page_names_learning_rates_and_what_is_none():
    rates, others = named("the learning rate"), named("and not, as")
    assert len(rates) > 12 and all(map(is_learning_rate, rates))
    assert len(others) > 8 and not any(map(is_learning_rate, others))
    for name in rates:
        assert js.compare(DECAY, {"step": [0, 60], name: [0.1, 0.01]}), name


def test_the_page_names_what_counts_the_rows_in_its_order():
    steps, epochs = named("what counts the rows"), named("if there is none")
    assert len(steps) > 15 and {*ranked(steps, STEPS)} == {*steps}
    assert sorted(ranked(epochs, EPOCHS)) == sorted(epochs)
    steps.remove("global step")  # as global_step
    for first, second in zip(steps, [*steps[1:], "epoch"], strict=True):
        log = {second: [0, 1, 2], first: [0, 60, 80], "lr": [0.1, 0.01, 0.001]}
        comparison = js.compare(DECAY, log)
        assert comparison.equal, (first, second)
        assert f"{first!r} counts the rows" in str(comparison) or first == "step"


@pytest.mark.parametrize(
    "name",
    "train/global_step num_updates current_steps iterations it n_iter train_step Step num_batches "
    "Global-Step trainer/global_step Iter globalStep training/steps train_num_updates".split()
    + ["global step"],
)
@pytest.mark.parametrize("with_wandbs", [False, True])
def test_what_counts_the_rows_is_found(name, with_wandbs):
    counts = np.arange(0, 100, 5)
    log = {"_step": np.arange(20)} if with_wandbs else {}
    log |= {"loss": np.ones(20), name: counts, "lr": DECAY(counts)}
    assert js.compare(DECAY, log).equal
    assert not js.compare(DECAY, log | {"lr": np.full(20, 0.1)})


def test_wandbs_step_is_the_last_resort():
    counts = np.arange(20) * 5
    log = {"_step": counts, "lr": DECAY(counts)}
    comparison = js.compare(DECAY, log)
    assert comparison and "'_step' counts the rows." in comparison.notes
    epochs = np.arange(20)
    comparison = js.compare(DECAY, log | {"epoch": epochs, "lr": DECAY(epochs)})
    assert comparison and "'epoch' counts the rows." in comparison.notes
    repeated = js.compare(DECAY, log | {"epoch": epochs // 4})
    assert repeated and "'_step' counts the rows." in repeated.notes


@pytest.mark.parametrize(
    "other",
    ["lr-SGD-momentum", "lr-SGD-weight_decay", "train/lr__MIN", "run-lr0.1 - loss", "lr_scheduler"],
)
def test_what_is_no_learning_rate_is_not_taken_for_one(other):
    comparison = js.compare(DECAY, {other: [0.9, 0.9], "step": [0, 60], "train/lr": [0.1, 0.01]})
    assert comparison.equal
    with pytest.raises(ValueError, match="must have a column `lr` or `learning_rate`; it has"):
        js.compare(DECAY, {other: [0.1, 0.1], "step": [0, 1]})


def test_several_learning_rates_are_one_if_they_are_equal():
    log = {"step": [0, 60], "lr-A/pg1": [0.1, 0.01], "lr-A/pg2": ["0.10", "1e-2"]}
    comparison = js.compare(DECAY, log)
    assert comparison and "in 'lr-A/pg1', 'lr-A/pg2', which are equal." in str(comparison)
    log["lr-A/pg2"] = [0.2, 0.02]
    with pytest.raises(ValueError, match="one learning rate; it has 'lr-A/pg1', 'lr-A/pg2'. Give"):
        js.compare(DECAY, log)
    assert js.compare(DECAY, log, lr="lr-A/pg1").equal
    assert js.compare(js.MultiStepLR(0.2, [50, 70]), log, lr="lr-A/pg2").equal
    log["lr-A/pg2"] = [None, 0.01]
    with pytest.raises(ValueError, match="one learning rate"):
        js.compare(DECAY, log)


def test_lr_and_step_name_columns():
    log = {"rate": [0.1, 0.01], "n": [0, 60], "step": [0, 1]}
    assert js.compare(DECAY, log, lr="rate", step="n").equal
    assert not js.compare(DECAY, log, lr="rate")
    log = {"lr": [0.1, 0.01], "epoch": [0, 1], "step": [0, 1]}
    decay = js.per_epoch(js.MultiStepLR(0.1, [1]), 7)
    assert js.compare(decay, log, step="epoch").equal and not js.compare(decay, log)
    for argument in ({"lr": "x"}, {"step": "x"}):
        (name,) = argument
        match = f"`{name}` must be the name of a column of `recorded`, got 'x'; it has 'lr', "
        with pytest.raises(ValueError, match=match):
            js.compare(DECAY, log, **argument)
    with pytest.raises(ValueError, match="`step` must be the name of a column"):
        js.compare(DECAY, [0.1], step="step")


def test_the_command_line_names_columns(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("rate,n\n0.1,0\n0.01,60\n")
    line = ["compare", str(tmp_path / "log.csv"), repr(DECAY)]
    assert main([*line, "--lr", "rate", "--step", "n"]) == 0
    assert "Equal in all 2 rows." in capsys.readouterr().out
    assert main(line) == 2
    assert "it has 'rate', 'n'. `lr` names another one" in capsys.readouterr().err


def test_what_counts_nothing_is_said():
    comparison = js.compare(DECAY, {"size": [128] * 60, "lr": DECAY(np.arange(60))})
    assert comparison and "The rows are numbered 0, 1, 2 ..., because no column" in str(comparison)
    assert "of 'size')" in str(comparison)
    batch = js.compare(DECAY, {"batch": [128] * 60, "lr": DECAY(np.arange(60))})
    assert batch and "The rows are numbered 0, 1, 2" in str(batch)
    assert js.compare(DECAY, {"lr": DECAY(np.arange(60))}).notes == ()
    differs = js.compare(DECAY, {"lr": [0.1, 0.01], "step": [0, 60], "iter": [0, 1]})
    assert "'step' counts the rows, and not 'iter', which differs." in differs.notes


# -- which count a row has -----------------------------------------------------------------------


@pytest.mark.parametrize("first_epoch", [0, 1])
@pytest.mark.parametrize("first_step", [0, 1])
@pytest.mark.parametrize("name", ["step", "iter"])
def test_a_step_that_starts_again_in_each_epoch(first_epoch, first_step, name):
    counts = np.arange(90)
    log = {"epoch": counts // 18 + first_epoch, name: counts % 18 + first_step, "lr": DECAY(counts)}
    comparison = js.compare(DECAY, log)
    assert comparison and comparison.num_rows == 90
    assert f"{name!r} starts again in each epoch of 18 updates." in comparison.notes
    for wrong in (np.full(90, 0.1), DECAY(counts % 18), DECAY(counts + 2), DECAY(counts // 18)):
        assert not js.compare(DECAY, log | {"lr": wrong})
    some = {key: values[counts % 18 % 4 == 3] for key, values in log.items()}
    with pytest.raises(ValueError, match="starts again in each epoch: give `steps_per_epoch`"):
        js.compare(DECAY, some)
    comparison = js.compare(js.per_epoch(DECAY, 1), some, steps_per_epoch=18)
    assert comparison and comparison.num_rows == 20
    late = js.compare(js.per_epoch(DECAY, 1), some, steps_per_epoch=19)
    assert not late or "Read otherwise" in str(late)
    with pytest.raises(ValueError, match="within an epoch of 9 updates, got"):
        js.compare(js.per_epoch(DECAY, 1), some, steps_per_epoch=9)


def test_a_step_that_starts_again_without_an_epoch_is_refused():
    counts = np.arange(90)
    log = {"step": counts % 18, "lr": np.full(90, 0.1)}
    with pytest.raises(ValueError, match="starts again at row 18: if it starts again in each"):
        js.compare(DECAY, log)
    log["lr"] = DECAY(counts)
    assert js.compare(js.per_epoch(DECAY, 1), log, steps_per_epoch=18).equal
    twice = {"step": np.tile(counts, 2), "lr": np.tile(DECAY(counts), 2)}
    with pytest.raises(ValueError, match="if the run began again, give one run"):
        js.compare(DECAY, twice)
    with pytest.raises(ValueError, match="if the run began again, give one run"):
        js.compare(js.per_epoch(DECAY, 1), twice, steps_per_epoch=391)
    with pytest.raises(ValueError, match="'step' that rises from row to row"):
        js.compare(DECAY, {"step": [3, 2, 1], "lr": [0.1, 0.1, 0.1]})


@pytest.mark.parametrize(
    ("labels", "left_out"),
    [
        ([*range(60), *range(40, 90)], range(40, 60)),  # resumed
        ([*range(58), *range(90)], range(58)),  # begun again
        ([*range(0, 90, 10), *range(50, 120, 10)], range(5, 9)),
        ([*range(0, 90, 10), *range(45, 120, 10)], []),  # with other rows: nothing written again
        ([*range(50, 100), *range(50)], []),
        ([0, 1, 2, 5, 3, 4, 6], []),
        ([*range(10), 3, *range(10, 20)], []),  # one strange row is no resumed run
        ([*range(60), *range(50, 70), *range(55, 90)], [*range(50, 60), *range(65, 80)]),
    ],
)
def test_only_what_was_written_again_is_left_out(labels, left_out):
    labels = np.array(labels)
    lrs = COSINE(labels)
    comparison = js.compare(COSINE, {"step": labels, "lr": lrs})
    assert comparison.equal and comparison.num_rows == len(labels) - len([*left_out])
    said = f"{len([*left_out])} more are left out, because the run wrote them again."
    assert (said in comparison.notes) == bool(len([*left_out]))
    if not len([*left_out]):
        assert "goes back at row" in str(comparison)
    for row in range(len(labels)):
        wrong = np.where(np.arange(len(labels)) == row, 0.05, lrs)
        other = js.compare(COSINE, {"step": labels, "lr": wrong})
        assert other.equal == (row in left_out), row


@pytest.mark.parametrize("every", [1, 10, 50])
def test_a_log_from_1_or_written_every_k_updates_has_two_readings(every):
    labels = np.arange(every, 1000, every)
    log = {"step": labels, "lr": COSINE(labels - 1)}
    comparison = js.compare(COSINE, log)
    assert comparison and "numbered from 1" in str(comparison)
    assert f"Read otherwise, {len(labels)} of them differ." in comparison.notes
    comparison = js.compare(COSINE, {"step": labels, "lr": COSINE(labels)})
    assert comparison and f"The first one is count {every}." in comparison.notes
    for wrong in (labels + 1, labels - 2, np.where(labels < 500, labels, labels - 1)):
        assert not js.compare(COSINE, {"step": labels, "lr": COSINE(wrong)})


@pytest.mark.parametrize(
    "labels", [range(0, 500, 50), range(49, 500, 50), range(100, 500, 50), range(7, 90)]
)
def test_a_log_that_counts_from_0_has_one_reading(labels):
    labels = np.array(labels)
    assert js.compare(COSINE, {"step": labels, "lr": COSINE(labels)}).notes == ()
    for by in (-1, 1):
        assert not js.compare(COSINE, {"step": labels, "lr": COSINE(labels + by)})


WARMUP = js.LinearLR(0.1, 0.01, total_iters=500)
README = js.ChainedScheduler([WARMUP, js.per_epoch(js.MultiStepLR(0.1, [3, 6]), 200)])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("place", "note"),
    [
        (0, "Each row is of the first update of its epoch."),
        (199, "Each row is of the last update of its epoch."),
        (200, "Each row is read after the last update of its epoch."),
    ],
)
def test_a_row_for_each_epoch_is_read_at_one_place_of_all_epochs(first, place, note):
    starts = np.arange(8) * 200
    log = {"epoch": np.arange(8) + first, "lr": README(starts + place)}
    comparison = js.compare(README, log)
    if (first, place) == (1, 200):  # the same counts, said otherwise
        note = "The first one is count 1. Each row is of the first update of its epoch."
    assert comparison and note in " ".join(comparison.notes)
    assert "Read otherwise, " in str(comparison)
    mixed = np.where(np.arange(8) == 1, README(starts + 100), log["lr"])
    assert not js.compare(README, log | {"lr": mixed})
    assert not js.compare(README, log | {"lr": WARMUP(starts + place)})


def test_a_staircase_has_no_reading_at_the_end_of_an_epoch():
    decay, epochs = js.per_epoch(js.MultiStepLR(0.1, [3, 6]), 200), np.arange(9)
    log = {"epoch": epochs, "lr": decay(epochs * 200)}
    assert js.compare(decay, log).notes == (
        "The rows are epochs of 200 updates, as the schedule has them.",
        "'epoch' counts the rows.",
    )
    assert not js.compare(decay, log | {"lr": decay(epochs * 200 + 200)})
    two = js.SequentialLR([js.per_epoch(DECAY, 3), js.per_epoch(DECAY, 4)], [5])
    with pytest.raises(
        ValueError, match="`steps_per_epoch` must be given: .* names (3 and 4|4 and 3)"
    ):
        js.compare(two, log)


# -- what is no proof ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "counts", "note"),
    [
        (
            js.per_epoch(js.MultiStepLR(0.1, [100]), 391),
            range(200),
            "changes, at count 39,100: this",
        ),
        (
            js.StepLR(0.1, 40_000_000),
            range(9),
            "first changes, at count 40,000,000: this shows only",
        ),
        (js.MultiStepLR(0.1, [5]), [0, 4], "The rows end before the schedule first changes, at co"),
        (js.MultiStepLR(0.1, [5]), [5, 9, 400], "this does not show where it changes."),
        (js.CyclicLR(0.1, 0.3, 10), [0, 20, 40], "this does not show where it changes."),
        (lambda count: 0.1 * (count < 50), range(9), "this shows nothing of what comes later."),
        (js.ConstantLR(0.1, 1.0), range(9), None),
        (js.MultiStepLR(0.1, [5]), [4, 5], None),
        (COSINE, range(2), None),
    ],
)
def test_a_log_of_one_learning_rate_is_no_proof(schedule, counts, note):
    lrs = [float(schedule(count)) for count in counts]
    comparison = js.compare(schedule, {"step": counts, "lr": lrs})
    assert comparison.equal
    assert (note in str(comparison)) if note else "show" not in str(comparison)


def test_a_plateau_that_never_cuts_is_no_proof():
    log = {"lr": [0.1, 0.1], "val_loss": [1.0, 0.9]}
    comparison = js.compare(js.ReduceLROnPlateau(0.1), log)
    assert comparison and "this does not show that the plateau cuts." in str(comparison)


# -- digits --------------------------------------------------------------------------------------


def test_numbers_in_memory_are_exact():
    schedule = js.RecordedLR([0.0125, 0.0001375])
    for log in ([0.0125, 0.0001], np.array([0.0125, 0.0001]), {"lr": [0.0125, 0.0001]}):
        comparison = js.compare(schedule, log)
        assert not comparison and comparison.num_different == 1
    assert js.compare(schedule, np.float32([0.0125, 0.0001375])).equal
    assert not js.compare(COSINE, [round(COSINE(count), 4) for count in range(100)])


def test_a_text_with_few_digits_beside_its_size_is_not_compared():
    texts = ["0.0125", "0.0012", "0.0001", "0.0000"]
    comparison = js.compare(js.RecordedLR([0.0125, 0.00122, 0.0001375, 2e-5]), texts)
    assert comparison and comparison.num_rows == 2
    assert "2 more print too few digits to be compared, as 0.0001." in comparison.notes
    wrong = js.compare(js.RecordedLR([0.0125, 0.00122, 0.0001375, 2e-4]), texts)
    assert not wrong and wrong.count == 3 and wrong.num_rows == 3


# -- files ---------------------------------------------------------------------------------------

CSV = lines(["step,note,lr", *(f"{s},a,{DECAY(s)}" for s in range(90))])
JSONL = lines(json.dumps({"step": s, "note": "a", "lr": DECAY(s)}) for s in range(90))
BROKEN = {
    "a quote that is not closed": (
        CSV.replace("11,a", '11,"a'),
        "unexpected end of data in row 11",
    ),
    "one that another closes": (
        CSV.replace("11,a", '11,"a').replace("50,a", '50,a"'),
        "row 11 goes over many lines|expected after|row 11 has",
    ),
    "and that looks like a cell": (
        CSV.replace("11,a,", '11,"a,').replace("50,a,", '50,a",'),
        "row 11 goes over many lines: a quote is not closed",
    ),
    "a cell less": (CSV.replace("11,a,", "11,"), "row 11 has 2 cells where the header has 3"),
    "a second header": (CSV + "step,note,lr\n", "finite numbers in 'lr', got 'lr' in row 90"),
    "NaN": (CSV.replace("11,a,0.1", "11,a,NaN"), "finite numbers in 'lr', got 'NaN' in row 11"),
    "a broken line": (JSONL.replace('"step": 11,', '"step: 11,'), "line 12 column"),
    "a line that is cut": (JSONL.replace('"step": 11, "note": "a", ', '"step": 11, '), None),
    "the same name twice": (
        JSONL.replace('11, "note"', '11, "lr"'),
        "line 12: an object has 'lr' twice",
    ),
    "a text line": (
        torchtune(COSINE).replace("lr:0.0", "lr:0.0x", 1),
        "line .* must have a number",
    ),
    "JSON after a prefix": (
        fairseq(COSINE).replace('"lr": "', '"lr": ', 1),
        "line 2 holds no JSON",
    ),
    "lines without a step": (
        lines(["{'lr': 0.1, 'loss': 2}"] * 9),
        "9 lines have a learning rate, an",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(compared, name):
    text, match = BROKEN[name]
    if match is None:
        assert compared(DECAY, text).num_rows == 90
        return
    with pytest.raises(ValueError, match=match):
        compared(DECAY, text)


@pytest.mark.parametrize("text", [CSV, JSONL], ids=["CSV", "JSON"])
def test_a_last_line_that_is_cut_is_left_out_and_it_is_said(compared, text):
    for cut in range(2, 20):
        comparison = compared(DECAY, text[:-cut])
        said = " ".join(comparison.notes)
        if not comparison.equal:  # its last number is cut
            assert comparison.count == 89 and comparison.num_different == 1
        elif comparison.num_rows == 89:
            assert "The last line is cut, and left out." in said or text[-cut - 1] == "\n"
        else:
            assert comparison.num_rows == 90 and (text is JSONL or "has no line end" in said)


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_line(compared, mark):
    assert compared(DECAY, CSV.replace(",a,", f",a{mark}b,")).num_rows == 90
    text = JSONL.replace('"a"', f'"a{mark}b"') if mark > "\x1f" else JSONL
    assert compared(DECAY, text).num_rows == 90


def test_what_is_no_file_does_not_hang(tmp_path):
    for name in ("log.csv", "events.out.tfevents.1"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match="must be a file"):
            js.compare(DECAY, tmp_path / name)
    with pytest.raises(ValueError, match="must be a file"):
        js.compare(DECAY, tmp_path)  # the folder that has the second one
    with pytest.raises(ValueError, match="must be a file"):
        js.compare(DECAY, "/dev/zero")


def test_an_event_file_that_is_damaged_or_cut_is_refused(tmp_path):
    (file,) = events(tmp_path / "a", [(s, "lr", DECAY(s)) for s in range(20)]).iterdir()
    data, path = file.read_bytes(), tmp_path / "events.out.tfevents.b"
    boundaries, at = {0}, 0
    while at < len(data):
        at += 16 + struct.unpack("<Q", data[at : at + 8])[0]
        boundaries.add(at)
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x11]) + data[at + 1 :])
        with pytest.raises(ValueError, match="is damaged, or cut, at byte|cannot be read"):
            js.compare(DECAY, path)
        path.write_bytes(data[:at])
        if at not in boundaries:
            with pytest.raises(ValueError, match=r"is damaged, or cut, at byte \d+"):
                js.compare(DECAY, path)


MEASURE = """
import resource, sys
import jaxsched as js
js.compare(js.StepLR(0.1, 3), [0.1, 0.1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
comparison = js.compare(js.CosineAnnealingLR(0.1, 900_000), sys.argv[1])
assert comparison.equal, comparison
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CSV", "JSON"])
def test_a_long_log_takes_little_memory(tmp_path, kind):
    path, lrs = tmp_path / "log", js.CosineAnnealingLR(0.1, 900_000)(np.arange(400_000)).tolist()
    with open(path, "w") as file:
        file.write("step,loss,lr\n" * (kind == "CSV"))
        for step, lr in enumerate(lrs):
            row = f"{step},2.5,{lr}" if kind == "CSV" else f'{{"step": {step}, "lr": {lr}}}'
            file.write(row + "\n")
    assert path.stat().st_size > 11 * 2**20
    line = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 180, done.stdout


# -- fuzz ----------------------------------------------------------------------------------------

SCHEDULES = [
    *(COSINE, DECAY, README, js.ExponentialLR(0.1, 0.99), js.StepLR(0.3, 7, 0.5)),
    *(js.OneCycleLR(0.1, 300), js.CyclicLR(0.01, 0.1, 13), js.per_epoch(js.StepLR(0.1, 2), 11)),
]


def as_text(lr, digits):
    return f"{lr:{digits}}" if digits else repr(lr)


def as_csv(name, labels, texts):
    return lines(
        [f"{name},loss,lr", *(f"{n},2.5,{lr}" for n, lr in zip(labels, texts, strict=True))]
    )


def as_json_lines(name, labels, texts):
    return lines(f'{{"{name}": {n}, "lr": {lr}}}' for n, lr in zip(labels, texts, strict=True))


def as_trainer_state(name, labels, texts):
    rows = [
        f'{{"{name}": {n}, "learning_rate": {lr}}}' for n, lr in zip(labels, texts, strict=True)
    ]
    return f'{{"epoch": 2.5, "log_history": [{", ".join(rows)}]}}'


def as_lines(name, labels, texts):
    return lines(
        f"10:00 | {name} {n} | loss: 2.5 lr: {lr}" for n, lr in zip(labels, texts, strict=True)
    )


LOGS = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(SCHEDULES),
        "write": st.sampled_from([as_csv, as_json_lines, as_trainer_state, as_lines]),
        "name": st.sampled_from(["step", "iteration"]),
        "digits": st.sampled_from(["", "", ".9g", ".6g", ".4f", ".3e"]),
        "every": st.sampled_from([1, 2, 7, 10]),
        "number": st.integers(3, 60),
        "from_1": st.booleans(),
        "first": st.sampled_from([0, 2, 3]),
        "back": st.none() | st.tuples(st.integers(1, 59), st.integers(1, 59)),
    }
)


def built(log):
    """The labels of a log and its true counts."""
    every = log["every"]
    counts = np.arange(log["number"]) * every + log["from_1"] * (every - 1)
    if not log["from_1"]:
        counts = counts + log["first"] * every
    if log["back"]:
        stop, by = log["back"]
        stop = min(stop, len(counts))
        counts = np.concatenate([counts[:stop], counts[max(stop - by, 0) :]])
    return counts + log["from_1"], counts


@pytest.mark.slow
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(LOGS, st.data())
def test_a_true_log_is_equal_and_one_wrong_row_is_not(compared, log, data):
    schedule, write, digits = log["schedule"], log["write"], log["digits"]
    labels, counts = built(log)
    lrs = [float(lr) for lr in schedule(counts)]
    texts = [as_text(lr, digits) for lr in lrs]
    assume(digits != ".4f" or max(lrs) > 0.0101)  # with two digits they are numbers, not rounded
    try:
        comparison = compared(schedule, write(log["name"], labels, texts))
    except ValueError as error:  # a run that began again, and a file of few rows that go back
        assert log["back"] and re.search("starts again at row|that rises from row", str(error))
        return
    assert comparison.equal, str(comparison)
    again = {row for row in range(len(labels)) if labels[row] in labels[row + 1 :]}
    row = data.draw(st.sampled_from([row for row in range(len(labels)) if row not in again]))
    factor = data.draw(st.sampled_from([0.0, 0.5, 0.9, 1.2, 10.0]))
    wrong = lrs[row] * factor + (1e-3 if digits == ".4f" else 0)
    texts[row] = as_text(wrong, digits)
    # Less than 1e-15 of the largest counts as 0.
    assume(abs(float(texts[row]) - lrs[row]) > 0.06 * lrs[row] and lrs[row] > 1e-13 * max(lrs))
    assume(digits != ".4f" or abs(float(texts[row]) - lrs[row]) > 2e-4)
    other = compared(schedule, write(log["name"], labels, texts))
    if log["from_1"] and other.equal:  # one row that only the other reading tells apart
        assert "Read otherwise, " in str(other)
        return
    assert not other.equal, str(other)
    assert other.num_different >= 1


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(SCHEDULES),
    st.sampled_from([as_csv, as_json_lines, as_trainer_state, as_lines]),
    st.integers(0, 4000),
    st.sampled_from(['"', "\n", ",", "{", "}", "", "\0", "\x1a", "\u2028", ";", "'"]),
    st.booleans(),
)
def test_damage_is_an_error_or_is_seen_in_the_answer(compared, schedule, write, at, new, is_cut):
    counts = np.arange(60)
    text = write("step", counts, [repr(float(lr)) for lr in schedule(counts)])
    at = at % len(text)
    if not is_cut and text[at] not in '",{}\n:[]':
        new = text[at]  # another digit is another log
    damaged = text[:at] if is_cut else text[:at] + new + text[at + 1 :]
    try:
        comparison = compared(schedule, damaged)
    except (ValueError, TypeError) as error:
        assert str(error)
        return
    said = " ".join(comparison.notes)
    if comparison.equal and comparison.num_rows < 60:
        has_all_lines = is_cut and "\n" in text[at - 1 : at + 1]
        assert has_all_lines or re.search("last line|lines of text|rows are numbered", said), said


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(SCHEDULES), st.integers(0, 10**6), st.integers(1, 255))
def test_an_event_file_with_one_wrong_byte_is_never_read(tmp_path, schedule, at, by):
    path = tmp_path / "events.out.tfevents.b"
    if not (tmp_path / "a").exists():
        events(tmp_path / "a", [(s, "lr", COSINE(s)) for s in range(12)])
    (file,) = (tmp_path / "a").iterdir()
    data = file.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + bytes([data[at] ^ by]) + data[at + 1 :])
    with pytest.raises(ValueError, match="cannot be read"):
        js.compare(schedule, path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "step {:,} lr: {:.4e}",
            "line 11 must have a number without commas in 'step', got '1,000'",
        ),
        ("iter {:,}/20,000, lr={:.4e}", "line 11 .* in 'iter', got '1,000'"),
    ],
)
def test_a_step_with_commas_in_it_is_no_smaller_one(compared, line, message):
    schedule = js.StepLR(0.1, 500)
    rows = [line.format(step, schedule(step)) for step in range(0, 3000, 100)]
    with pytest.raises(ValueError, match=message):
        compared(schedule, lines(rows))
    assert compared(schedule, lines(rows[:10])).equal


def test_a_learning_rate_with_a_decimal_comma_is_not_0(compared):
    with pytest.raises(ValueError, match="line 1 must have a number in 'lr', got '0,1'"):
        compared(js.StepLR(0.1, 3), lines(f"step {step} lr: 0,1" for step in range(3)))
    assert compared(js.StepLR(0.1, 3), "epoch 0,lr: 0.1,step: 0\nepoch 0,lr: 0.1,step: 1\n").equal


def test_a_terminals_colors_are_no_part_of_a_line(compared):
    rows = [f"\x1b[32mstep {step}\x1b[0m lr: \x1b[1;31m{0.1:.4e}\x1b[0m" for step in range(3)]
    assert compared(js.StepLR(0.1, 3), lines(rows)).num_rows == 3


def test_a_file_without_names_is_told_to_have_some(compared):
    with pytest.raises(ValueError, match="it has '0', '0.1': give it a first line with the names"):
        compared(js.StepLR(0.1, 3), "0,0.1\n1,0.1\n")
    with pytest.raises(ValueError, match="it has none$"):
        compared(js.StepLR(0.1, 3), "{}\n{}\n")


@pytest.mark.parametrize("recorded", [{0.1, 0.2}, {"lr": {0.1, 0.2}}, {"lr": frozenset([0.1])}])
def test_a_set_is_no_log(recorded):
    with pytest.raises(TypeError, match="must be numbers, one for each count"):
        js.compare(js.StepLR(0.1, 3), recorded)


@pytest.mark.parametrize("tool", [js.identify, lambda log: js.compare(js.StepLR(0.1, 2), log)])
def test_a_learning_rate_that_changes_within_epochs_needs_a_step(tool):
    epochs = np.repeat(np.arange(6), 5)
    lrs = js.StepLR(0.1, 2)(epochs)
    tool({"epoch": epochs, "lr": lrs})
    log = {"epoch": epochs, "lr": js.StepLR(0.1, 7)(np.arange(30))}
    with pytest.raises(ValueError, match="`step`, or .* changes within epoch 1, in which rows are"):
        tool(log)
    twice = [0, 1, 2, 2, 3, 4]  # one epoch begun again, and a row that is wrong
    found = js.compare(
        js.StepLR(0.1, 2), {"epoch": twice, "lr": [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]}
    )
    assert (found.equal, found.count) == (False, 2)
    plateau, halves = js.ReduceLROnPlateau(0.1, patience=0), [0, 0, 1, 1, 2, 2]
    log = {"epoch": halves, "lr": [0.1, 0.1, 0.01, 0.01, 0.01, 0.01]}
    assert js.compare(plateau, log | {"val_loss": [5, 5, 4, 3, 2, 1]}).equal
    log["lr"] = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    assert js.compare(plateau, log | {"val_loss": [5, 4, 4, 3, 2, 1]}).equal
