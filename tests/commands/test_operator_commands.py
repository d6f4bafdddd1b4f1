"""`gateway sessions`, `keys` and `providers`, on stores directly and against a gateway that runs."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.__main__ import run
from tests import servers

LINE: dict[str, Any] = {
    "format": 1, "owner": "acme", "id": "chat-1", "created": 1_800_000_000_000, "updated": 1_800_000_000_000,
    "expires": 4_000_000_000_000, "user_context": {},
    "totals": {"turns": 1, "messages": 2, "usage": {"input": 3, "output": 4}, "cost": 0.5},
    "turns": [
        {
            "number": 1, "at": 1_800_000_000_000, "stop": "end",
            "question": {"dialect": "openai_chat", "messages": ['{"role": "user",\n "content": "h\\u00e9"}']},
            "reply": {
                "dialect": "openai_chat", "messages": ['{"role":"assistant","content":"yo\\u001b[31m"}'],
                "provider": "main", "model": "gpt-5",
            },
            "mark": {"question": "00ff", "reply": "a0"},
        }
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with servers.any_url() as url:
        yield url


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def seed(path: Path, count: int = 1) -> Path:
    path.write_text("".join(json.dumps({**LINE, "id": f"chat-{n + 1}"}) + "\n" for n in range(count)))
    return path


def gateway(*argv: str) -> int:
    return run(argv, {})


def test_sessions_move_between_file_and_redis_and_keep_every_turn(tmp_path: Path, redis_url: str):
    config = tmp_path / "gateway.yaml"
    config.write_text(
        f"sessions: {{store: redis, redis: {{url: '{redis_url}', prefix: '{uuid4().hex}:', timeout: 10s}}}}"
    )
    given, there, back = seed(tmp_path / "given", 3), tmp_path / "there", tmp_path / "back"
    assert gateway("sessions", "import", "--store", str(tmp_path / "one"), "--input", str(given)) == 0
    assert gateway("sessions", "export", "--store", str(tmp_path / "one"), "--output", str(there)) == 0
    assert gateway("sessions", "import", "--config", str(config), "--input", str(there)) == 0
    assert gateway("sessions", "export", "--config", str(config), "--output", str(back)) == 0
    moved = sorted(lines_of(back), key=lambda line: line["id"])
    assert sorted(back.read_bytes().splitlines()) == sorted(there.read_bytes().splitlines())
    for got in moved:
        assert {**got["turns"][0], "usage": None} == {**LINE["turns"][0], "usage": None}
        assert got["totals"] == LINE["totals"]


def test_a_pipe_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    gateway("sessions", "import", "--store", one, "--input", str(seed(tmp_path / "given", 2)))
    capsysbinary.readouterr()
    assert gateway("sessions", "export", "--store", one) == 0
    piped = capsysbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    assert gateway("sessions", "import", "--store", two) == 0
    assert b"2 imported" in capsysbinary.readouterr().out


def test_sessions_are_listed_shown_forked_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ("--store", str(tmp_path / "one"))
    gateway("sessions", "import", *store, "--input", str(seed(tmp_path / "given", 3)))
    capsys.readouterr()
    assert gateway("sessions", "list", *store) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:2] == ["ID", "OWNER"]
    assert len(table) == 4
    gateway("sessions", "list", *store, "--json", "--limit", "2")
    assert len(json.loads(capsys.readouterr().out)) == 2
    gateway("sessions", "show", "chat-1", *store)
    shown = capsys.readouterr().out
    assert "hé" in shown
    assert "cost 0.500000 dollars" in shown
    assert "\x1b" not in shown
    assert gateway("sessions", "fork", "chat-1", "--id", "branch", *store) == 0
    assert capsys.readouterr().out == "branch\n"
    assert gateway("sessions", "delete", "branch", *store) == 0
    capsys.readouterr()
    gateway("sessions", "delete", "--owner", "acme", "--dry-run", "--json", *store)
    assert json.loads(capsys.readouterr().out) == {"examined": 3, "matched": 3, "deleted": 0, "dry_run": True}
    gateway("sessions", "delete", "--owner", "acme", *store)
    assert capsys.readouterr().out.startswith("3 deleted")


def test_keys_are_made_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ("--store", str(tmp_path / "one"))
    assert gateway("keys", "create", "team-a", "--model", "gpt-*", "--requests-per-minute", "60", *store) == 0
    assert capsys.readouterr().out.startswith("gw-")
    assert gateway("keys", "revoke", "team-a", *store) == 0
    capsys.readouterr()
    gateway("keys", "list", "--json", *store)
    (key,) = json.loads(capsys.readouterr().out)
    assert (key["id"], key["models"], key["revoked_at"] is None) == ("team-a", ["gpt-*"], False)
    assert key["limits"] == {"requests_per_minute": 60}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("sessions", "show", "nothing"), "There is no such session."),
        (("keys", "revoke", "nobody"), "There is no such key."),
        (("sessions", "import", "--input", "/nowhere/at/all"), "No such file"),
        (("sessions", "export", "--output", "/nowhere/at/all"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str
):
    assert gateway(*argv, "--store", str(tmp_path)) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("sessions", "delete", "--store", "."), "--all for all of them"),
        (("sessions", "context", "x", "[1]"), "The context must be an object in JSON"),
        (("providers", "reset"), "gateway providers reset NAME"),
        (("stats", "--url", "localhost:8080"), "begins with http:// or https://"),
    ],
)
def test_a_mistake_in_the_arguments_is_told_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str
):
    assert gateway(*argv) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("argv", [("list", "--limit", "0"), ("list", "--older-than", "soon"), ("extend", "x", "1w")])
def test_a_value_that_means_nothing_is_exit_code_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]):
    with pytest.raises(SystemExit) as stopped:
        gateway("sessions", *argv)
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_store_that_is_not_there_is_not_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for action in ("list", "export"):
        assert gateway("sessions", action, "--store", str(tmp_path / "typo")) == 1
        assert "there is no such directory" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_a_session_is_made_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ("--store", str(tmp_path / "one"))
    talk = tmp_path / "talk.json"
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    talk.write_text(json.dumps(asked * 2))
    made = ("sessions", "create", "--owner", "acme", "--id", "faq", "--messages", str(talk), "--ttl", "30d", *store)
    assert gateway(*made) == 0
    assert capsys.readouterr().out == "faq\n"
    assert gateway(*made) == 1
    assert "already" in capsys.readouterr().err
    assert gateway("sessions", "drop", "faq", *store) == 0
    assert capsys.readouterr().out == "faq: 1 turn left.\n"
    assert gateway("sessions", "context", "faq", '{"ticket": "A-118"}', *store) == 0
    assert gateway("sessions", "extend", "faq", "7d", *store) == 0
    assert "faq lives until 2" in capsys.readouterr().out
    gateway("sessions", "show", "faq", "--json", *store)
    shown = json.loads(capsys.readouterr().out)
    assert [line["content"] for line in shown["messages"]] == ["Hi", "Hello!"]
    assert shown["metadata"]["user_context"] == {"ticket": "A-118"}


def test_a_reader_who_leaves_ends_an_export_without_a_traceback(tmp_path: Path):
    store = str(tmp_path / "one")
    gateway("sessions", "import", "--store", store, "--input", str(seed(tmp_path / "given", 400)))
    command = [sys.executable, "-m", "gateway", "sessions", "export", "--store", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        export.stdout.readline()
        export.stdout.close()
        said = export.stderr.read().decode()
        assert (export.wait(), said) == (1, "gateway: Nobody reads the export any more; it is not complete.\n")


def test_a_gateway_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]):
    assert gateway("providers", "--url", "http://127.0.0.1:9") == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "offered"), [("gateway sess", "sessions"), ("gateway keys cr", "create")])
def test_a_shell_completes_what_is_typed(typed: str, offered: str, capsys: pytest.CaptureFixture[str]):
    assert gateway("completion", "bash") == 0
    words = typed.split()
    ask = f'COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _shtab_gateway; echo "${{COMPREPLY[@]}}"'
    script = f"{capsys.readouterr().out}\n{ask}\n"
    done = subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shells_script_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]):
    assert gateway("completion", shell) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in ("serve", "sessions", "older-than", "revoke", "affinity"))
