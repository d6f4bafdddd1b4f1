"""The programs that check what is deployed: looked for beside Python and on PATH, never installed by a test."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "gateway"


def tool(name: str) -> str:
    """The program's path. Without it the test is skipped, but not in CI, which has to bring it."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(name, path=beside)
    if found is None:
        _complain(name)
    return found or ""


def module(name: str) -> Any:
    """A library, by the same rule."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _complain(name)


def _complain(name: str) -> None:
    complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    complain(f"{name} is not here: `make tools` and the packages in .ci/run bring it.")


def run(name: str, *arguments: str, folder: Path = ROOT, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; standard output and error as text."""
    return subprocess.run(
        [tool(name), *arguments],
        cwd=folder, text=True, capture_output=True, timeout=120, check=False, env={**os.environ, **environ},
    )  # fmt: skip
