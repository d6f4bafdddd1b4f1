"""A gateway may open as many files as server.max_concurrency needs, or says that it may not."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from gateway import logs
from gateway.commands.serve import allow_files
soft, hard, wanted = map(int, sys.argv[1:])
logs.configure()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
allow_files(wanted)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limited(soft: int, hard: int, wanted: int) -> tuple[int, str]:
    """The limit afterwards, and what was logged; in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "after", "told"),
    [(256, 2000, 1000, 1000, False), (256, 512, 1000, 512, True), (1500, 2000, 1000, 1500, False)],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may(
    soft: int, hard: int, wanted: int, after: int, *, told: bool
):
    limit, log = limited(soft, hard, wanted)
    assert limit == after
    assert ("raise ulimit" in log) is told
