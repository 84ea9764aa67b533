"""A schedule from text: its repr, read through `ast` and never evaluated."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import re
import warnings
from typing import Any, NoReturn, get_args

from jaxsched._base.arguments import Function
from jaxsched._base.schedule import Schedule
from jaxsched._schedules.epochs import steps_per_epoch
from jaxsched._schedules.plateau import ReduceLROnPlateau

_CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (*Schedule.__subclasses__(), ReduceLROnPlateau)
    if not cls.__name__.startswith("_")
}
_NAMES = {**_CLASSES, "steps_per_epoch": steps_per_epoch}
_FUNCTIONS = {
    field.name
    for cls in _CLASSES.values()
    for field in dataclasses.fields(cls)
    if Function in (field.type, *get_args(field.type))
}
"""The arguments that are functions."""
_PREFIXES = ("js", "jaxsched")
_EXPECTED = "expected a schedule, as in MultiStepLR(0.1, [100, 150])"


class ParseError(ValueError, argparse.ArgumentTypeError):
    """A text that is no schedule. argparse shows the message of such an error."""


def parse(text: str) -> Schedule | ReduceLROnPlateau:
    """Makes a schedule from text: the call that makes it, as in Python, and as it prints.

    ```text
    MultiStepLR(0.1, [100, 150])                         a class and its arguments
    per_epoch(MultiStepLR(0.1, [100, 150]), 391)         a schedule in a schedule
    js.StepLR(0.1, step_size=30, gamma=0.5)              the name of the module may stand before it
    per_epoch(StepLR(0.1, 30), steps_per_epoch(50_000, 128, drop_last=False))
    ```

    It is for configuration files and command lines. Text is read and never evaluated: it consists
    of jaxsched's names, numbers, strings, True, False, None, lists and tuples. It holds no
    functions, and where one is asked for, a schedule in its place is refused as well: so there is
    no LambdaLR and no MultiplicativeLR in text.

    Args:
        text: the call as text. The names are the classes of jaxsched, `per_epoch`, `smooth_epochs`,
            `clamp` and `steps_per_epoch`.

    Returns:
        The schedule. For each schedule without functions and arrays, `parse(repr(schedule))` equals
        `schedule`.

    Raises:
        ValueError: the text is no such call, or a schedule refuses an argument. The message is one
            line that begins with the column, from 1 on.
        TypeError: `text` is no string.

    torch has no such function.

    >>> import jaxsched as js
    >>> js.parse("per_epoch(MultiStepLR(0.1, [100, 150]), 391)")
    per_epoch(MultiStepLR(0.1, milestones=(100, 150), gamma=0.1), steps_per_epoch=391)
    """
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {text!r}")
    text = re.sub(r"\s", " ", text)  # one line, so that a column says where
    body = text.lstrip()
    return _Reader(body, len(text) - len(body)).schedule()


class _Reader:
    def __init__(self, text: str, indent: int):
        self.text, self.indent = text, indent

    def schedule(self) -> Schedule | ReduceLROnPlateau:
        node = self.tree()
        value = self.value(node)
        if not isinstance(value, tuple(_CLASSES.values())):
            self.refuse(node, _EXPECTED)
        return value

    def tree(self) -> ast.expr:
        if not self.text:
            self.refuse_at(0, _EXPECTED)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of text as "1or 2"
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            # A lone surrogate has no offset.
            self.refuse_at((error.offset or 1) - 1, error.msg)
        except (ValueError, RecursionError, MemoryError) as error:
            self.refuse_at(0, f"this is no Python: {str(error) or 'too deep'}")

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [self.value(element) for element in elements]
            case ast.Call():
                return self.call(node)
            case ast.Name(id=name) if name.startswith("opt"):
                self.refuse(node, f"write the learning rate, as 0.1, where torch has `{name}`")
        found = _short(ast.get_source_segment(self.text, node) or "")
        self.refuse(node, f"expected a number, a list or a schedule, got {found}")

    def call(self, node: ast.Call) -> Any:
        name = self.name(node.func)
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                self.refuse(argument, "a * has no meaning here")
        args = [self.value(argument) for argument in node.args]
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(keyword.value, "a ** has no meaning here")
            if keyword.arg in kwargs:
                self.refuse(keyword.value, f"`{keyword.arg}` stands there twice")
            kwargs[keyword.arg] = self.value(keyword.value)
        checks = getattr(_NAMES[name], "_checks", {})
        given = [*zip(checks, args, node.args, strict=False)]
        given += [(k.arg, kwargs[k.arg], k.value) for k in node.keywords if k.arg in kwargs]
        for argument, value, there in given:  # one by one, to say where a wrong one stands
            if argument in _FUNCTIONS and value is not None:
                self.refuse(there, f"text holds no functions: make the {name} in Python")
            if argument in checks:
                self.attempt(there, checks[argument], argument, value)
        unknown = [k.value for k in node.keywords if checks and k.arg not in checks]
        return self.attempt([*unknown, node][0], _NAMES[name], *args, **kwargs)

    def attempt(self, node: ast.expr, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """fn(*args, **kwargs), whose error is one of what stands at the node."""
        try:
            return fn(*args, **kwargs)
        except (TypeError, ValueError) as error:
            self.refuse(node, " ".join(str(error).replace(".__init__()", "").split()))

    def name(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                pass
            case ast.Attribute(value=ast.Name(id=prefix), attr=name) if prefix in _PREFIXES:
                pass
            case _:
                self.refuse(node, "expected the name of a schedule before the parenthesis")
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_NAMES)}"
            self.refuse(node, f"jaxsched has no schedule {_short(name)}; {hint}")
        return name

    def refuse(self, node: ast.expr, message: str) -> NoReturn:
        # `ast` counts bytes.
        self.refuse_at(len(self.text.encode()[: node.col_offset].decode()), message)

    def refuse_at(self, column: int, message: str) -> NoReturn:
        raise ParseError(f"column {self.indent + column + 1}: {message}") from None


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:57]}..."
