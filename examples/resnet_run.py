"""The run of examples/resnet.py: updates, tests, checkpoints, and what a person sees of them."""

import contextlib
import csv
import json
import os
import signal
import sys
import time
from typing import Any, cast

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from matplotlib.figure import Figure
from resnet_machines import Failure, compiled_by_all
from resnet_parts import Batches
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.summary import scalar
from tensorboardX.writer import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tqdm import tqdm
from train import differences, replace

import jaxsched as js

COLUMNS = ["update", "lr", "loss", "accuracy", "gradient_norm", "test_loss", "test_accuracy"]
CURVES = ["loss", "accuracy", "lr", "gradient_norm"]


class Log:
    """Written by host 0: the bar, metrics.csv, TensorBoard, curves.png."""

    def __init__(self, args, done):
        self.args, self.rows = args, []
        path = args.out / "metrics.csv"
        if done and path.exists():  # else only the checkpoints were brought here
            with path.open(newline="") as file:
                whole = [line for line in file if line.endswith("\n")]  # a kill may cut the last
            rows = csv.DictReader(whole)
            self.rows = [row for row in rows if int(row["update"]) <= done]
        with replace(path) as file:
            self.csv = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            self.csv.writeheader()
            self.csv.writerows(self.rows)
        self.file = path.open("a", newline="")
        self.csv = csv.DictWriter(self.file, COLUMNS, lineterminator="\n")
        # Not a SummaryWriter: its thread would stop at a full disk, and the program wait for it.
        (args.out / "tensorboard").mkdir(parents=True, exist_ok=True)
        self.board = EventsWriter(str(args.out / "tensorboard" / "events"))
        start = SessionLog(status=SessionLog.START)  # from here on older events are hidden
        self.board.write_event(Event(wall_time=time.time(), step=done + 1, session_log=start))
        images, seen = args.updates * args.batch_size, done * args.batch_size
        # None: no bar where stderr is no terminal.
        self.bar = tqdm(total=images, initial=seen, unit=" images", unit_scale=True, disable=None)

    def add(self, last, metrics, tested):
        """The metrics of the updates up to `last`, and what the test after it gave."""
        number, row = len(metrics["lr"]), {}
        for i, update in enumerate(range(last - number + 1, last + 1)):
            row = {"update": update} | {k: metrics[k][i] for k in COLUMNS if k in metrics}
            row |= tested if update == last else {}
            if update % self.args.log_every == 0 or "test_loss" in row:
                self.rows.append(row)
                self.csv.writerow(row)
                for name in row.keys() - {"update"}:
                    value = scalar(name, row[name])
                    event = Event(wall_time=time.time(), step=update, summary=value)
                    self.board.write_event(event)
        for file in (self.file, self.board):
            file.flush()
        if tested:
            self.bar.write("  ".join(f"{name} {value:<8.4g}" for name, value in row.items()))
        self.bar.set_postfix_str(f"loss {row['loss']:.3f}, lr {row['lr']:.4g}", refresh=False)
        self.bar.update(number * self.args.batch_size)

    def close(self, is_drawn):
        for part in (self.bar, self.board, self.file):
            part.close()
        if not is_drawn:  # a logarithm of NaN
            return
        figure = Figure(figsize=(7, 8), layout="constrained")
        figure.suptitle(self.args.schedule or f"{self.args.epoch_schedule}, by epochs")
        for name, axes in zip(CURVES, figure.subplots(len(CURVES), sharex=True), strict=True):
            for column, color in ((name, "tab:gray"), (f"test_{name}", "tab:blue")):
                rows = [row for row in self.rows if row.get(column, "") != ""]
                values = [[float(row[k]) for row in rows] for k in ("update", column)]
                style = "steps-pre" if name == "lr" else "default"
                axes.plot(*values, color=color, label=column, drawstyle=style)
            axes.set(ylabel=name.replace("_", " "), xlabel="updates")
            axes.set_yscale("linear" if name == "accuracy" else "log")
            axes.grid(alpha=0.25)
            axes.label_outer()
            if name in ("loss", "accuracy"):
                axes.legend(frameon=False)
        figure.savefig(self.args.out / "curves.png", dpi=150)


@contextlib.contextmanager
def writing(checkpoints):
    """A full disk, say, ends the program with one line; the last good checkpoint stays."""
    try:
        yield
    except (OSError, ValueError) as error:  # Orbax makes a ValueError of what TensorStore says
        raise Failure(f"could not write: {error}\n{kept(checkpoints)}") from None


def kept(checkpoints):
    last = checkpoints.latest_step()
    return f"The last good checkpoint is of update {last}." if last else "No checkpoint yet."


def what_counts(args, data):
    """The arguments that change the numbers of a run: on any devices they stay the same."""
    names = ["depth", "width", "batch_size", "seed", "weight_decay", "decay_kernels_only"]
    names += ["label_smoothing", "bfloat16", "image_size"]
    found = {name: getattr(args, name) for name in names} | {"data": data.name}
    unit = "updates" if args.schedule else "epochs"
    text = repr(js.parse(args.schedule or args.epoch_schedule))
    if "ReduceLROnPlateau" in text:
        found["test_every"] = args.test_every
    return found | {"schedule": f"{text}, by {unit}"}


def open_checkpoints(args, data):
    """The checkpoints, if they are this run's; its arguments are written beside them."""
    folder = args.out.absolute() / "checkpoints"
    path = folder / "arguments.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=args.keep)
        checkpoints = ocp.CheckpointManager(folder, options=options)
        done = checkpoints.latest_step() or 0  # in updates
        if done and not args.resume:
            raise Failure(f"{folder} has checkpoints: give --resume to go on, or another --out")
        if done > args.updates:
            raise Failure(f"{done} updates are done, and the run is to have {args.updates}", 2)
        arguments = what_counts(args, data)
        if done and not path.exists():
            print(f"no {path}: nothing to compare the arguments with", file=sys.stderr)
        elif done:
            network = {name: arguments[name] for name in ("depth", "width")}
            if changed := differences(path, network):
                raise Failure(f"{path}: the network has another {changed}. Give what it has.", 2)
            changed = differences(path, arguments)
            if changed and not args.override:
                hint = "Give what was, or --override to go on with what is now."
                raise Failure(f"{path}: the run had another {changed}. {hint}", 2)
        if jax.process_index() == 0:
            with replace(path) as file:
                json.dump(arguments, file, indent=1)
    except (OSError, ValueError) as error:
        raise Failure(f"argument --out: {folder} cannot be used: {error}", 2) from None
    return checkpoints, done


def train(args, data, program, checkpoints, done, at_end):
    hosts = jax.process_count(), jax.process_index()
    read = grain.ReadOptions(16, max(16, 2 * args.updates_per_dispatch))  # threads, batches ahead

    def batches(images, updates, seed=None):
        source = Batches(images, args.batch_size, updates, *hosts, seed)
        return iter(grain.MapDataset.source(source).to_iter_dataset(read))

    def to_devices(sharding, arrays):
        return [jax.make_array_from_process_local_data(sharding, a) for a in arrays]

    def test(state):
        source, sums = batches(data.test, -(-len(data.test.labels) // args.batch_size)), []
        while True:
            try:
                batch = next(source, None)
            except (OSError, ValueError) as error:
                raise Failure(f"{error}. {kept(checkpoints)}") from None
            if batch is None:
                break
            sums.append(evaluate(state, *to_devices(program.split, batch)))
        loss, right, images = np.sum(jax.device_get(sums), axis=0)
        return {"test_loss": loss / images, "test_accuracy": right / images}

    def next_chunk():
        """The batches of the next dispatch, on their way to the devices; or why there are none."""
        number = min(args.updates_per_dispatch, args.updates - done)
        try:
            chunk = [next(train_batches) for _ in range(number)]
        except (OSError, ValueError) as error:
            return error
        chunk = map(np.stack, zip(*chunk, strict=True))
        return to_devices(program.split_many, chunk) if number else None

    def save(untested):
        with writing(checkpoints):
            at = ocp.args.JsonSave({"batches": position, "untested": untested})
            parts = ocp.args.Composite(state=ocp.args.StandardSave(state), data=at)
            checkpoints.save(done, args=parts)

    updates, evaluate, observe, highest = (
        compiled_by_all(name, getattr(program, name))
        for name in ("updates", "evaluate", "observe", "highest")
    )
    saved, untested = done, None
    train_batches = batches(data.train, args.updates, args.seed)
    if done:
        like = ocp.args.StandardRestore(program.state)
        parts = ocp.args.Composite(state=like, data=ocp.args.JsonRestore())
        try:
            found = checkpoints.restore(done, args=parts)
            state, untested = found["state"], found["data"]["untested"]
            train_batches.set_state(found["data"]["batches"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise Failure(f"the checkpoint of update {done} does not fit: {error!r}") from None
    else:
        state = program.initial()

    wants_to_stop = False

    def ask_to_stop(signum, _):
        nonlocal wants_to_stop
        wants_to_stop = True
        os.write(2, b"\nstopping after this dispatch; the same signal again ends it at once\n")
        signal.signal(signum, signal.SIG_DFL)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, ask_to_stop)

    def leave_or_not():
        """0, 1: somebody wants to stop, 2: a host has no images. All hosts get the same answer."""
        wish = 2 if isinstance(chunk, Exception) else int(wants_to_stop)
        if hosts[0] > 1:
            wishes = np.full(jax.local_device_count(), wish, np.int32)
            wish = int(highest(*to_devices(program.split, [wishes])))
        return wish

    with writing(checkpoints):
        log = Log(args, done - bool(untested)) if hosts[1] == 0 else None
    if log:
        at_end.callback(log.bar.close)  # else it would stand below an error
    waiting = cast(Any, None)  # update, metrics, test: still to be written down
    failure, before = None, done
    if untested:  # it was stopped where a test was due
        waiting = [done, {k: np.array([v], np.float32) for k, v in untested.items()}, {}]

    def report():
        nonlocal waiting
        if log and waiting:
            with writing(checkpoints):
                log.add(*waiting)
        waiting = None

    position, chunk = train_batches.get_state(), next_chunk()
    while True:
        leave, is_last = leave_or_not(), done == args.updates
        is_due = [done // n > before // n for n in (args.test_every, args.save_every)]
        is_to_test, is_to_save = (due or (is_last and done > before) for due in is_due)
        if is_to_test or untested:
            if leave:  # testing may take longer than whoever stops us waits
                untested = {k: float(v[-1]) for k, v in waiting[1].items()}
            else:
                waiting[2], untested = test(state), None
                if program.is_plateau:
                    state = observe(state, waiting[2]["test_loss"])
                leave = leave_or_not()
        if leave or is_last or is_to_test or is_to_save:
            report()
        with writing(checkpoints):
            checkpoints.check_for_errors()  # of the last save, which goes on beside the updates
        if (leave or is_to_save) and done > saved:
            save(untested)
            saved = done
        if leave or is_last:
            break

        before = done
        state, metrics, is_finite = updates(state, chunk)
        done += len(chunk[1])
        # While the devices work, the host reads and writes.
        position, chunk = train_batches.get_state(), next_chunk()
        report()
        metrics, is_finite = jax.device_get((metrics, is_finite))
        waiting = [done, metrics, {}]
        bad = ~np.isfinite(metrics["loss"] + metrics["gradient_norm"])
        if bad.any() or not is_finite:
            at = bad.argmax() if bad.any() else -1
            numbers = {k: f"{metrics[k][at]:g}" for k in ("loss", "gradient_norm", "lr")}
            what = ", ".join(f"{k} {v}" for k, v in numbers.items())
            failure = f"update {range(before + 1, done + 1)[at]} gives no number any more ({what})."
            report()
            break

    with writing(checkpoints):
        checkpoints.close()
        if log:
            log.close(is_drawn=not failure)
    if failure:
        raise Failure(f"{failure} {kept(checkpoints)}")
    if leave == 2 and not isinstance(chunk, Exception):
        time.sleep(60)  # that host says why, to all
        chunk = "another host could not read its images"
    if leave == 2:
        raise Failure(f"{chunk}. Saved at {saved}; --resume goes on.")
    if leave and log:
        print(f"saved at {saved}; --resume goes on" if saved else "stopped before the first update")
