"""Gives mkdocs what lies outside of its folder: the pictures, and the repository's own files.

On a page they are linked as a git host needs them, `../../examples/pictures/StepLR.svg`.
"""

from pathlib import Path

from mkdocs.structure.files import File

PICTURES = "../../examples/pictures/"


def on_files(files, config):
    for path in sorted((Path(config.docs_dir) / PICTURES).glob("*.svg")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, **_):
    return markdown.replace(PICTURES, "pictures/")
