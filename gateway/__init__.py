"""An LLM gateway that remembers conversations."""

import sys

__version__ = "0.1.0"

# httpx brings its command line along, with rich and pygments: 3 MB and 40 ms of a process that never runs it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
