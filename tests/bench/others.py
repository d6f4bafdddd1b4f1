"""Installs what is measured, into `.bench/NAME`: this gateway as its users do, and what it is measured against.

    python tests/bench/others.py [NAME ...]

From PyPI each into an environment of its own, and from npm, in the versions that were measured. nginx is Debian's
(`apt-get install nginx-light`). Of this gateway only the packages that it needs are used from there: the code that is
measured is always the checkout's.
"""

import json
import subprocess
import sys

from tests.bench.contestants import CONTESTANTS, OTHERS, PLAIN, ROOT, Contestant

OVERRIDES = {"@hono/node-server": "1.13.8"}
"""With what is current, Portkey 1.15.2 answers every stream with a 500: it changes headers that are immutable there."""


def install_ours() -> None:
    """The gateway without what its tests need, in the versions that they are run with."""
    folder = PLAIN.parent.parent
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    versions = str(ROOT / "requirements-dev.txt")
    subprocess.run([str(PLAIN), "-m", "pip", "install", "-q", "-c", versions, str(ROOT)], check=True)
    (folder / "done").touch()


def install(contestant: Contestant) -> None:
    folder = OTHERS / contestant.name
    package = contestant.package
    if package.startswith("npm:"):
        name, version = package.removeprefix("npm:").split("==")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"dependencies": {name: version}, "overrides": OVERRIDES}))
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", package], check=True)


def main() -> None:
    if "gateway" in (sys.argv[1:] or ["gateway"]):
        install_ours()
    for contestant in CONTESTANTS:
        if contestant.package and contestant.name in (sys.argv[1:] or [contestant.name]):
            try:
                install(contestant)
            except (OSError, subprocess.CalledProcessError) as error:
                sys.stderr.write(f"{contestant.name}: not installed: {error}\n")


if __name__ == "__main__":
    main()
