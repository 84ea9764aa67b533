"""The command line: `jaxsched show`, `identify`, `check` and `compare`."""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched._base.members import shorten
from jaxsched._base.ops import PYTHON
from jaxsched._desk.check.check import check
from jaxsched._desk.compare.aligned import align
from jaxsched._desk.compare.compare import compare
from jaxsched._desk.curve import concrete, curve
from jaxsched._desk.identify.identify import read
from jaxsched._desk.placed import clock_of, default_counts, size
from jaxsched._desk.show import fit, sparkline, table, unit
from jaxsched._desk.text import parse
from jaxsched._schedules.plateau import ReduceLROnPlateau

_EPILOG = """\
A schedule is written as in Python, and in quotes for the shell: a class, its arguments, schedules
in schedules. It is read and never evaluated.

examples:
  jaxsched show "MultiStepLR(0.1, [100, 150])"
  jaxsched check "per_epoch(MultiStepLR(0.1, [100, 150]), 391)" --counts 78200
  jaxsched compare lr.csv "per_epoch(MultiStepLR(0.1, [100, 150]), 391)"
  jaxsched identify lr.csv

exit status: 0; 1 if a check finds something, what is compared differs, or nothing is identified; 2
if the command line, a schedule or a file is wrong
"""
_SHOW = """\
examples:
  jaxsched show "StepLR(0.1, step_size=30, gamma=0.5)"
  jaxsched show "CosineAnnealingLR(0.1, T_max=90)" --counts 90 --plot lr.png
  jaxsched show "per_epoch(ExponentialLR(0.1, 0.95), 391)" --csv lr.csv
"""
_CHECK = """\
examples:
  jaxsched check "OneCycleLR(0.1, total_steps=10000)" --counts 9775
  jaxsched check "MultiStepLR(0.1, [100, 150])" --epochs 200 --steps-per-epoch 391
"""
_COMPARE = """\
examples:
  jaxsched compare lr.csv "StepLR(0.1, 30)"
  jaxsched compare lr.csv "MultiStepLR(0.1, [100, 150])" --steps-per-epoch 391
  jaxsched compare metrics.csv "StepLR(0.1, 30)" --lr lr-SGD/pg1 --step step --plot lr.png
"""
_IDENTIFY = """\
examples:
  jaxsched identify lr.csv
  jaxsched identify lr.csv --steps-per-epoch 391
  jaxsched identify metrics.csv --lr lr-SGD/pg1 --step step --plot lr.png
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line, and returns its exit status: 0, or 1 for a difference or a finding, or 2
    for what is wrong. Nothing else is a 1, as Python's own status after an error would be."""
    if sys.stdout is None:  # as in `jaxsched show ... >&-`
        return _refuse("standard output is closed")
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as in `jaxsched show ... | head -1`
        _drop(sys.stdout)
        return 128 + 13
    except KeyboardInterrupt:
        return 128 + 2
    except (TypeError, ValueError, OSError, ImportError, RecursionError, MemoryError) as error:
        message = str(error).replace("`num_counts`", "`--counts`") or type(error).__name__
        if isinstance(error, OSError):
            message = error.strerror or message
            if error.filename is not None:
                message = f"{error.filename}: {message}"
        _drop(sys.stdout)
        return _refuse(message)


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
    except SystemExit as end:  # after --help, or a wrong command line
        return end.code if isinstance(end.code, int) else 2
    return args.run(args)


def _refuse(message: str) -> int:
    if sys.stderr is not None:  # it may be closed as well
        with contextlib.suppress(OSError):
            print(f"jaxsched: error: {' '.join(message.split())}", file=sys.stderr)
        _drop(sys.stderr)
    return 2


def _drop(stream: Any) -> None:
    """What cannot be written is not tried again at exit, where it would be an error."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    def add(name: str, run: Any, help: str, epilog: str) -> Any:
        command = commands.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + ".", epilog=epilog, **raw
        )
        command.set_defaults(run=run)
        return command

    raw: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    about = "torch.optim.lr_scheduler for JAX: looks at a learning-rate schedule."
    parser = argparse.ArgumentParser("jaxsched", description=about, epilog=_EPILOG, **raw)
    version = importlib.metadata.version("jaxsched")
    parser.add_argument("--version", action="version", version=f"jaxsched {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    shown = add("show", _show, "print which learning rate is used when, and the curve", _SHOW)
    checked = add("check", _check, "find what is wrong with a schedule before training", _CHECK)
    compared = add("compare", _compare, "compare a log of learning rates with a schedule", _COMPARE)
    about = "print the schedule that gives every row of a log"
    identified = add("identify", _identify, about, _IDENTIFY)
    for command in (compared, identified):
        command.add_argument("log", metavar="LOG", help="CSV, JSON, text, TensorBoard's event file")
        command.add_argument("--lr", metavar="NAME", help="the column of the learning rate")
        command.add_argument("--step", metavar="NAME", help="the column that counts the rows")
    for command in (shown, checked, compared):
        command.add_argument("schedule", metavar="SCHEDULE", help="as it prints, in quotes")
    for command in (shown, checked, compared, identified):
        command.add_argument(
            "--steps-per-epoch",
            metavar="N",
            type=int,
            help="optimizer updates in an epoch; then the counts are updates",
        )
    for command in (shown, checked):
        length = command.add_mutually_exclusive_group(required=command is checked)
        about = "counts in the run" + "; default: a bit past the last change" * (command is shown)
        length.add_argument("--counts", metavar="N", type=int, help=about)
        about = "epochs in the run, with --steps-per-epoch or per_epoch"
        length.add_argument("--epochs", metavar="N", type=int, help=about)
    shown.add_argument("--csv", metavar="FILE", help="write the learning rates, exactly")
    for command in (shown, compared, identified):
        command.add_argument("--plot", metavar="FILE", help="draw the picture; needs matplotlib")
    return parser


def _show(args: argparse.Namespace) -> int:
    schedule, steps = concrete(parse(args.schedule)), args.steps_per_epoch
    num_counts = _num_counts(args, schedule)
    if num_counts is None:
        num_counts = default_counts(schedule)
    lrs, word = curve(schedule, num_counts), unit(schedule, steps)
    encoding = sys.stdout.encoding or "ascii"
    line = fit(sparkline(lrs, word, encoding))
    print(f"{fit(str(schedule))}\n\n{table(schedule, lrs, steps)}\n\n{line}")
    if args.csv is not None:
        with open(args.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([word, "lr"])
            writer.writerows(enumerate(lrs.tolist()))
        print(f"wrote {args.csv}")
    if args.plot is not None:
        from jaxsched._desk.plot import save

        save(args.plot, shorten(schedule), schedule, num_counts, steps)
        print(f"wrote {args.plot}")
    return 0


def _check(args: argparse.Namespace) -> int:
    schedule = parse(args.schedule)
    num_counts = _num_counts(args, schedule)
    found = check(schedule, num_counts, steps_per_epoch=args.steps_per_epoch)
    for finding in found:
        print(f"{finding.code}: {finding.message}\n    {finding.advice}")
    print(f"{len(found)} finding{'s' * (len(found) != 1)} in {num_counts:,} counts")
    return 1 if found else 0


def _num_counts(args: argparse.Namespace, schedule: Any) -> Any:
    """The length of the run in counts, which may be given in epochs. None if it is not given."""
    if args.epochs is None:
        return args.counts
    clock = clock_of(schedule, args.steps_per_epoch)
    if clock is None and not isinstance(schedule, ReduceLROnPlateau):
        raise ValueError("`--epochs` needs `--steps-per-epoch`, or per_epoch in the schedule")
    epochs = size("--epochs", args.epochs)
    return clock.first_update(epochs, PYTHON) if clock else epochs


def _compare(args: argparse.Namespace) -> int:
    if os.path.exists(args.schedule) and not os.path.exists(args.log):
        raise ValueError('LOG comes first, as in jaxsched compare lr.csv "StepLR(0.1, 30)"')
    schedule = parse(args.schedule)
    comparison = compare(
        schedule, args.log, steps_per_epoch=args.steps_per_epoch, lr=args.lr, step=args.step
    )
    if args.plot is not None:
        from jaxsched._desk.plot import Rows, save

        found = align(schedule, args.log, args.steps_per_epoch, args.lr, args.step)
        rows, title = Rows.of(found), shorten(found.schedule)
        num_counts = int(rows.counts[-1]) + 1
        save(args.plot, title, found.drawn, num_counts, args.steps_per_epoch, rows)
    print(comparison)
    if args.plot is not None:
        print(f"wrote {args.plot}")
    return 0 if comparison.equal else 1


def _identify(args: argparse.Namespace) -> int:
    found = read(args.log, steps_per_epoch=args.steps_per_epoch, lr=args.lr, step=args.step)
    if isinstance(found, str):
        print(found)
        return 1
    print("\n".join([repr(found.schedule), *found.notes]))
    if args.plot is not None:
        from jaxsched._desk.plot import Rows, save

        num_counts = int(found.counts[-1]) + 1
        rows = Rows(found.counts, found.lrs, np.zeros(len(found.lrs), bool))
        title = shorten(found.schedule)
        save(args.plot, title, found.schedule, num_counts, args.steps_per_epoch, rows)
        print(f"wrote {args.plot}")
    return 0
