"""Gives mkdocs what lies outside of its folder: the pictures, and the repository's own files.

On a page they are linked as a git host needs them, `../../examples/pictures/StepLR.svg`.
"""

import inspect
from pathlib import Path

from mkdocs.structure.files import File

import jaxsched

PICTURES = "../../examples/pictures/"


def on_config(config):
    # Classes say that they are of `jaxsched`; for their signatures `__init__` has to say it too.
    for value in map(vars(jaxsched).get, jaxsched.__all__):
        if isinstance(value, type) and inspect.isfunction(value.__init__):
            inspect.unwrap(value.__init__).__module__ = value.__module__
    return config


def on_files(files, config):
    for path in sorted((Path(config.docs_dir) / PICTURES).glob("*.svg")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, **_):
    return markdown.replace(PICTURES, "pictures/")
