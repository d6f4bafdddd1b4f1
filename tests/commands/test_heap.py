"""The heap is given back where the C library can do that, and nothing fails where it cannot."""

import platform
import subprocess
import sys

import pytest

from gateway.commands import heap

FRAGMENTED = """
import resource
from gateway.commands import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

heap.join_arenas()
blocks = [bytearray(100_000) for _ in range(400)]
last = bytearray(100_000)  # holds the top of the heap
blocks.clear()
before = resident()
heap.give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is looked after")
def test_what_was_freed_in_the_middle_of_the_heap_goes_back_to_the_system() -> None:
    given = int(subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, check=True).stdout)
    assert given > 30_000_000


def test_a_c_library_without_these_functions_is_left_alone() -> None:
    assert heap.found("malloc_trim_of_another_library") is None
