"""Type checkers see in user_code.py what a person should: the types, and the errors marked."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USER_CODE = Path(__file__).parent / "user_code.py"
pytestmark = pytest.mark.slow


def pyright(path):
    line = ["-m", "pyright", "--pythonpath", sys.executable, "--outputjson", path.name]
    found = json.loads(run(path, line))["generalDiagnostics"]
    return {d["range"]["start"]["line"] + 1: d["message"] for d in found}


def mypy(path):
    line = ["-m", "mypy", "--ignore-missing-imports", path.name]  # optax has no types for it
    found = re.findall(r"user_code\.py:(\d+): error: (.*)", run(path, line))
    return {int(n): text for n, text in found}


def run(path, line):
    """In a folder of its own, without this project's settings, as a user does."""
    line = [sys.executable, *line]
    return subprocess.run(line, cwd=path.parent, capture_output=True, text=True).stdout


@pytest.mark.parametrize("checker", [pyright, mypy])
def test_user_code(checker, tmp_path):
    path = Path(shutil.copy(USER_CODE, tmp_path))
    lines = path.read_text().splitlines()
    wrong = [n for n, line in enumerate(lines, 1) if line.endswith("# error")]
    found = checker(path)
    assert sorted(found) == wrong, found
    assert len(wrong) > 15
