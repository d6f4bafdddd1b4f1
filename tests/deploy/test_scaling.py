"""The scaling guide's examples are what its own table gives."""

import subprocess
import sys
from dataclasses import replace

from deploy.scaling import EXAMPLES, FILE, answer, figures, rendered
from tests.deploy.tools import ROOT

KNOWN = figures(FILE.read_text())


def test_the_examples_are_worked_out_by_the_pages_own_figures():
    text = FILE.read_text()
    assert rendered(text) == text, "run `python deploy/scaling.py --write`"
    assert text.count("\n| ") > len(EXAMPLES)


def test_a_dearer_request_needs_more_workers():
    busy = EXAMPLES[-1]
    workers = int(answer(busy, KNOWN)[0])
    assert int(answer(busy, KNOWN | {"whole": KNOWN["whole"] * 100})[0]) > workers
    assert int(answer(replace(busy, rate=busy.rate * 2), KNOWN)[0]) > workers


def test_what_keeps_no_sessions_needs_no_redis():
    assert answer(replace(EXAMPLES[0], sessions=0), KNOWN)[3:] == ("none", "none", "none")


def test_the_command_answers_for_a_load_of_ones_own():
    command = [sys.executable, "deploy/scaling.py", "--rate", "50", "--sessions", "1000", "--turns", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "workers" in done.stdout
    assert "GiB" in done.stdout
