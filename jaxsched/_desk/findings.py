"""What is found in a schedule or in a difference: a code, a sentence and what to do."""

from __future__ import annotations

import html
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """What `check` finds in a schedule, and `compare` in a difference: three strings.

    ```text
    code       a short name that stays the same, as "milestone-never-reached"
    message    what is the case, in one sentence with its numbers
    advice     what to change
    ```

    `str(finding)` is all three in one line.
    """

    __module__ = "jaxsched"

    code: str
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.advice}"


class Findings(list[Finding]):
    """A list of findings that shows its sentences, in a REPL and in a notebook."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "[]"

    def __reduce__(self) -> Any:
        return list, ([*self],)  # what lasts is a plain list

    def _repr_html_(self) -> str:
        items = [
            f"<li><code>{html.escape(code)}</code>: {marked(message)} {marked(advice)}</li>"
            for code, message, advice in self
        ]
        return f"<ul>{''.join(items)}</ul>" if items else "No findings."


def marked(text: str) -> str:
    """A sentence as HTML: what stands in backticks is code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
