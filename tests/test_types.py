"""Type checkers see in user_code.py what a person should: the types, and the errors marked."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

USER_CODE = Path(__file__).parent / "user_code.py"
pytestmark = pytest.mark.slow


def pyright():
    line = ["pyright", "--pythonpath", sys.executable, "--outputjson", str(USER_CODE)]
    output = subprocess.run([sys.executable, "-m", *line], capture_output=True, text=True).stdout
    found = json.loads(output)["generalDiagnostics"]
    return {d["range"]["start"]["line"] + 1: d["message"] for d in found}


def mypy():
    line = [sys.executable, "-m", "mypy", str(USER_CODE)]
    output = subprocess.run(line, capture_output=True, text=True).stdout
    return {int(n): text for n, text in re.findall(r"user_code\.py:(\d+): error: (.*)", output)}


@pytest.mark.parametrize("checker", [pyright, mypy])
def test_user_code(checker):
    lines = USER_CODE.read_text().splitlines()
    wrong = [n for n, line in enumerate(lines, 1) if line.endswith("# error")]
    found = checker()
    assert sorted(found) == wrong, found
    assert len(wrong) > 15
