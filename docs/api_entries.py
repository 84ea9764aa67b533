"""Entries of the API pages: a signature with what an argument takes, the docstring, the source.

A schedule's annotations are plain at run time, `float`, and precise to a checker, `Field[...]`. A
signature of a page is read from the source: `float | Array`. The page "API" has the few names in it
that are no class.
"""

import ast
import inspect
import re
import sys
import textwrap
import zlib
from functools import cache
from pathlib import Path

import jaxsched
from jaxsched._base import arguments, members
from jaxsched._desk import curve

PICTURES = Path(__file__).parents[1] / "examples" / "pictures"
QUALIFIED = {
    "Any": "typing.Any",
    "Axes": "matplotlib.axes.Axes",
    "Callable": "collections.abc.Callable",
    "Literal": "typing.Literal",
    "Mapping": "collections.abc.Mapping",
    "Sequence": "collections.abc.Sequence",
}


def source_of(name):
    """The module where a public name is written. The classes themselves say `jaxsched`."""
    value = getattr(jaxsched, name)
    for key, module in sorted(sys.modules.items()):
        if key.startswith("jaxsched._") and vars(module).get(name) is value:
            if name in written_in(module):
                return module
    raise LookupError(name)


@cache
def written_in(module):
    """What a module's source gives a name: classes, functions, types, those for a checker too."""
    found, body = {}, [*ast.parse(inspect.getsource(module)).body]
    while body:
        node = body.pop(0)
        if isinstance(node, ast.If):  # TYPE_CHECKING: it comes before the plain ones of `else`
            body = [*node.body, *body]
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.setdefault(node.name, node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, node.value)
    return found


def taken(annotation, module):
    """The text of an annotation, without the names that only the code has."""
    text = ast.unparse(annotation)
    for names in map(written_in, (module, curve, members, arguments)):
        for name, value in names.items():
            written = ast.unparse(value) if isinstance(value, ast.expr) else ""
            if written.startswith("Field["):
                takes, keeps = map(ast.unparse, value.slice.elts)
                written = takes.replace("Number", "int" if "int" in keeps else "float")
            elif not written.startswith("Literal[") and name != "EpochLengths":
                continue
            text = re.sub(rf"\b{name}\b", lambda _, new=written: new, text)
    return re.sub(r"(?<![\w.\"'])\w+", lambda m: QUALIFIED.get(m[0], m[0]), text)


def signature_of(name):
    """The arguments, as in `(base_lr: float | Array, gamma: float | Array = 0.1)`; the result."""
    module = source_of(name)
    node, source = written_in(module)[name], inspect.getsource(module)
    if isinstance(node, ast.FunctionDef):
        call, returns = node.args, taken(node.returns, module)
        defaults = [*[None] * (len(call.args) - len(call.defaults)), *call.defaults]
        parts = [(a.arg, a.annotation, d) for a, d in zip(call.args, defaults, strict=True)]
        named = zip(call.kwonlyargs, call.kw_defaults, strict=True)
        parts += [("*", None, None)] * bool(call.kwonlyargs)
        parts += [(a.arg, a.annotation, d) for a, d in named]
    else:
        returns, parts = None, []
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                default = field.value
                if isinstance(default, ast.Call):  # of argument(check, default=...)
                    default = {k.arg: k.value for k in default.keywords}.get("default")
                parts.append((field.target.id, field.annotation, default))
    texts = []
    for argument, annotation, default in parts:
        kind = f": {taken(annotation, module)}" if annotation else ""
        value = f" = {ast.get_source_segment(source, default)}" if default else ""
        texts.append(f"{argument}{kind}{value}")
    return f"({', '.join(texts)})", returns


def on_signature(app, what, name, obj, options, signature, returns):
    public = name.removeprefix("jaxsched.")
    if public == "Schedule":
        return "", None
    return signature_of(public) if public in jaxsched.__all__ else None


def on_docstring(app, what, name, obj, options, lines):
    public = name.removeprefix("jaxsched.")
    given = inspect.signature(obj).parameters if public in jaxsched.__all__ else ()
    text = as_rst("\n".join(lines), given)
    picture = f"{public}.svg"
    if (PICTURES / picture).exists():
        first, rest = text.split("\n\n", 1)
        text = (
            f"{first}\n\n.. image:: /../../examples/pictures/{picture}\n   :alt: {first}\n\n{rest}"
        )
    lines[:] = text.splitlines()


def as_rst(text, given):
    """A docstring, whose fences and backticks are Markdown's, as reStructuredText.

    `given` are the names of its arguments: in backticks they are themselves, and no function.
    """
    text = re.sub(
        r"(?ms)^( *)```(\w+)\n(.*?)^ *```$",
        lambda m: f"{m[1]}.. code-block:: {m[2]}\n\n{textwrap.indent(m[3], '   ')}",
        text,
    )
    text = re.sub(r"(?m)^( *)Returns:\n +", r"\1:returns: ", text)
    # Code and examples stay as they are.
    parts = re.split(r"(?m)(^ *\.\. code-block::.*\n(?:\n| +.*\n?)+|^>>> (?:.+\n?)+)", text)
    parts[::2] = [re.sub(r"`([^`]+)`", lambda m: as_link(m[1], given), part) for part in parts[::2]]
    paper = r"`arXiv:\1 <https://arxiv.org/abs/\1>`__"
    return re.sub(r"arXiv:([\d.]+\d)", paper, "".join(parts))


def as_link(code, given):
    """What stood in backticks: a link if it is a public name, or a class of torch's."""
    name = code.removeprefix("js.")
    if name in jaxsched.__all__ and code not in given:
        return f":py:obj:`{code} <jaxsched.{name}>`"
    if re.fullmatch(r"torch\.optim\.\w+\.\w+(\.\w+)?", code):
        return f":py:obj:`{code}`"
    return f"``{code}``"


def follow(app, modname, attribute):
    """For the link to the source."""
    public = attribute.split(".")[0]
    return source_of(public).__name__ if public in jaxsched.__all__ else None


def on_page(app, page, source):
    """A fence that says "torch", as a block with that caption."""
    source[0] = re.sub(
        r'(?m)^```(\w+) title="([^"]*)"$', r"```{code-block} \1\n:caption: \2\n", source[0]
    )


def setup(app):
    app.connect("source-read", on_page)
    app.connect("autodoc-process-signature", on_signature)
    app.connect("autodoc-process-docstring", on_docstring, priority=400)  # before napoleon
    app.connect("viewcode-follow-imported", follow)
    # A changed docstring, or a change here, is on the page after the next build.
    sources = [Path(__file__), *sorted(Path(jaxsched.__file__).parent.rglob("*.py"))]
    return {"env_version": zlib.crc32(b"".join(path.read_bytes() for path in sources)) or 1}
