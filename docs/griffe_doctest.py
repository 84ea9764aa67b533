"""Fences the examples of docstrings, `>>>` lines without a heading, so that they show as code."""

import re

import griffe


class FenceDoctests(griffe.Extension):
    def on_object(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text with a fence around each run of lines from a `>>>` up to an empty line."""
    if "```pycon" in text:
        return text
    return re.sub(r"(?m)^(>>> .*(?:\n(?!\s*$).*)*)", r"```pycon\n\1\n```", text)
