"""`gateway demo`, run as its user runs it: start, paste what it prints, stop."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_PROXY": "*", "no_proxy": "*"}


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def printed(process: subprocess.Popen[str]) -> str:
    """What it prints up to the line that says how to stop it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    return "".join(lines)


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def guide() -> Iterator[str]:
    process = start()
    try:
        yield printed(process)
    finally:
        stop(process)


@pytest.mark.parametrize(("number", "name"), [(1, "Ada"), (2, "Grace"), (3, "Edsger")])
def test_each_printed_command_works_as_printed(guide: str, number: int, name: str):
    block: Any = re.search(rf"^{number}\. [^\n]*\n\n(.*?)\n\n", guide, re.DOTALL | re.MULTILINE)
    pasted = subprocess.check_output(["sh", "-c", block[1]], text=True, env=ENVIRONMENT, timeout=60)
    assert f"Your name is {name}." in pasted


def test_the_printed_management_command_lists_what_is_stored(guide: str):
    found: Any = re.search(r"^What is stored: (.*)$", guide, re.MULTILINE)
    listed = json.loads(subprocess.check_output(["sh", "-c", found[1]], text=True, env=ENVIRONMENT, timeout=60))
    assert {"with-curl", "with-openai", "with-anthropic"} == {session["id"] for session in listed["sessions"]}
    assert listed["sessions"][0]["metadata"]["total_messages"] == 4


def test_the_guide_says_how_to_install_the_sdks(guide: str):
    assert "pip install openai" in guide
    assert "pip install anthropic" in guide


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly_and_its_directory_is_gone(number: int):
    process = start()
    found: Any = re.search(r"Sessions are in (\S+),", printed(process))
    assert Path(found[1]).is_dir()
    code, out, err = stop(process, number)
    assert code == 0
    assert "stopped" in out
    assert "Traceback" not in err
    assert not Path(found[1]).exists()


def test_a_given_directory_is_kept(tmp_path: Path):
    directory = tmp_path / "sessions"
    process = start("--directory", str(directory))
    assert f"Sessions are in {directory}. Ctrl-C" in printed(process)
    stop(process)
    assert directory.is_dir()
    assert directory.stat().st_mode & 0o777 == 0o700
