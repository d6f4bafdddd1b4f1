"""The image: what the Dockerfile takes out again is missed by nobody."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.deploy.tools import ROOT
from tests.processes import provider, running

CONFIG = """
server: {{host: 127.0.0.1, port: PORT}}
auth: {{mode: none}}
management: {{key: for-a-test-only}}
sessions: {{compression: zstd, file: {{directory: "{folder}"}}}}
providers: {{p: {{kind: anthropic, base_url: "{url}", keys: [k]}}}}
models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
"""
BLOCK = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r} or name == "zstandard._cffi":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Gone())
"""
PACKAGES = Path(next(path for path in sys.path if path.endswith("site-packages")))
IMPORTED_AS = {"rich-click": "rich_click", "markdown-it-py": "markdown_it"}


def taken_out() -> set[str]:
    text = (ROOT / "deploy/docker/Dockerfile").read_text()
    found = re.search(r"uninstall --yes \\\n\s*(.+?) \\\n", text)
    assert found
    return {IMPORTED_AS.get(name, name) for name in found[1].split()}


def without_languages(folder: Path) -> str:
    """The command that takes them out, of another folder."""
    found = re.search(r"&& (find \S+ -path .*faker.* \{\} \+)", (ROOT / "deploy/docker/Dockerfile").read_text())
    assert found
    return found[1].replace("/opt/gateway", str(folder))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.py"))


def test_a_gateway_serves_and_is_managed_without_what_the_image_leaves_out(tmp_path: Path):
    assert len(taken_out()) >= 5
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=taken_out()))
    shutil.copytree(PACKAGES / "faker", tmp_path / "faker")
    before = size(tmp_path / "faker")
    subprocess.run(["sh", "-c", without_languages(tmp_path)], check=True)
    assert size(tmp_path / "faker") < before / 4
    with provider() as (_, url):
        text = CONFIG.format(url=url, folder=tmp_path / "s")
        with running(text, PYTHONPATH=str(tmp_path)) as gateway:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
            headers = {"content-type": "application/json", "x-session-id": "s"}
            request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
            key = {"Authorization": "Bearer for-a-test-only"}
            for path in ("/v0/management/docs", "/v0/management/openapi.json", "/console", "/metrics", "/health/ready"):
                assert gateway.get(path, **key)[0] == 200, path
            assert gateway.get("/v0/management/sessions", **key)[1]["count"] == 1
