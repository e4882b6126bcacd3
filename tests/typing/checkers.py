"""mypy and pyright as a user runs them, in a folder that knows nothing of this repository."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_MYPY_LINE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: ")


def mypy_errors(program: Path, folder: Path, cache: Path) -> dict[int, str]:
    """What `mypy --strict` says against a program, by line."""
    (folder / "program.py").write_text(program.read_text())
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--no-error-summary", "--no-pretty"]
    said = _run(folder, "-m", "mypy", *options, "program.py")
    found = [(match, line) for line in said.splitlines() if (match := _MYPY_LINE.match(line))]
    assert all(match["file"] == "program.py" for match, _line in found), said
    return {int(match["line"]): line for match, line in found}


def pyright_errors(program: Path, folder: Path) -> dict[int, str]:
    """What pyright says against a program in its strict mode, by line.

    It is the one that basedpyright brings, which needs nothing from the network.
    """
    (folder / "program.py").write_text(program.read_text())
    settings = {"typeCheckingMode": "strict", "include": ["program.py"], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    said = _run(folder, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable)
    report: dict[str, Any] = json.loads(said)
    assert report["summary"]["filesAnalyzed"] == 1, said
    return {
        each["range"]["start"]["line"] + 1: f"{each['file']}: {each['message']}"
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


def _run(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    # 1: it found errors. Anything else: it could not look.
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    return ran.stdout
