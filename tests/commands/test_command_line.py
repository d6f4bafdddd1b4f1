"""What the command says: help, mistakes, the meaning of a configuration."""

import socket
from pathlib import Path

import pytest

from gateway.__main__ import run
from gateway.commands.check import span
from gateway.commands.serve import listen, metrics_directory, url_of

GOOD = """
server: {host: 0.0.0.0, workers: 2}
auth:
  keys:
    - {id: team-a, key: "${TEAM_A_KEY}", models: ["smart", "local/*"]}
    - {id: team-b, key: written-in-the-file, models: [clever], sessions: affinity}
management: {key: "${ADMIN:-}"}
sessions: {store: redis, ttl: 90m, redis: {url: "redis://user:pass-of-redis@db:6379/1"}}
providers:
  main: {kind: openai, base_url: https://api.openai.com/v1, keys: ["${OPENAI_API_KEY:-unset}"]}
  local: {kind: openai, base_url: "http://models.example.org/v1", keys: ["in-the-clear"]}
  spare: {kind: anthropic, base_url: https://api.anthropic.com}
models:
  smart: {targets: [{provider: local, model: b, priority: 1}, {provider: main, model: a}]}
  "local/*": {targets: [{provider: local, model: "*"}]}
  forgotten: {targets: [{provider: main, model: x}]}
"""


def check(capsys: pytest.CaptureFixture[str], *arguments: str, **environ: str) -> tuple[int, str, str]:
    code = run(["check", *arguments], environ)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD)
    return str(path)


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]):
    assert run([], {}) == 0
    assert "gateway check --config config/gateway.yaml" in capsys.readouterr().out
    for command in ("serve", "check", "demo"):
        with pytest.raises(SystemExit) as ended:
            run([command, "--help"], {})
        assert ended.value.code == 0
        assert "examples:" in capsys.readouterr().out


def test_a_wrong_argument_is_exit_code_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run(["serve", "--port", "high"], {})
    assert ended.value.code == 2


def test_check_says_what_a_configuration_means(good: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = check(capsys, "--config", good, TEAM_A_KEY="key-of-team-a")
    assert code == 0
    for line in (
        "0.0.0.0, port 8080, 2 workers",
        "team-a: owner team-a, models smart, local/*, sessions history",
        "off: management.key is not set",
        "Redis at redis://db:6379/1",
        "kept 90m after the last turn, 30d at most",
        "main: openai at https://api.openai.com/v1, 1 key",
        "smart: main/a, local/b",
    ):
        assert line in out


def test_check_warns_of_what_is_probably_not_meant(good: str, capsys: pytest.CaptureFixture[str]):
    _, out, _ = check(capsys, "--config", good, TEAM_A_KEY="key-of-team-a", GATEWAY_MANAGEMENT_KEY="short")
    warnings = [line.strip(" -") for line in out.partition("Warnings\n")[2].splitlines()]
    assert warnings == [
        "providers.main.keys: a key is not set; its requests will be refused.",
        "providers.local.base_url: http sends the key and every conversation in the clear.",
        "providers.spare: no model uses it.",
        "providers.spare.keys: there are none, so requests go out without a credential.",
        "models.forgotten: no client key may use it.",
        "auth.keys[1].models: 'clever' is no model of this configuration.",
        "management.key: shorter than 16 characters; it opens every conversation.",
        "auth.keys[1].key: a secret in plain text; write ${NAME} or `sha256:`.",
        "providers.local.keys[0]: a secret in plain text; write ${NAME}.",
    ]


def test_check_never_prints_a_secret(good: str, capsys: pytest.CaptureFixture[str]):
    _, out, err = check(capsys, "--config", good, TEAM_A_KEY="key-of-team-a", ADMIN="key-of-the-admin")
    for secret in ("key-of-team-a", "key-of-the-admin", "written-in-the-file", "pass-of-redis", "in-the-clear"):
        assert secret not in out + err


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()
    path = tmp_path / "gateway.yaml"
    path.write_text(f"sessions: {{file: {{directory: {tmp_path}/file/sessions}}}}")
    assert "cannot be written" in check(capsys, "--config", str(path))[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {prot: 1}", "server.prot: there is no such key; did you mean `port`?"),
        ("server: [", "This is not YAML"),
        ("models: {a: {targets: [{provider: b, model: c}]}}", "there is no provider 'b'"),
        ("management: {key: '${NOT_THERE}'}", "${NOT_THERE} has no value"),
    ],
)
def test_a_mistake_is_explained_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
):
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    code, out, err = check(capsys, "--config", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"gateway: {path}: ")
    assert said in err


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    code, _, err = check(capsys, GATEWAY_CONFIG=str(tmp_path / name))
    assert code == 2
    assert err.startswith(f"gateway: {tmp_path}")


def test_a_file_that_is_no_text_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in check(capsys, GATEWAY_CONFIG=str(tmp_path / "binary"))[2]


def test_without_a_file_the_environment_is_enough(capsys: pytest.CaptureFixture[str]):
    code, out, _ = check(capsys, OPENAI_API_KEY="sk-1", GATEWAY_PORT="9000")
    assert code == 0
    assert "gpt-*: openai/*" in out
    assert "port 9000" in out
    assert check(capsys)[0] == 2


def test_a_flag_stands_above_the_environment_and_is_checked(capsys: pytest.CaptureFixture[str]):
    environ = {"OPENAI_API_KEY": "sk-1", "GATEWAY_PORT": "9000"}
    assert run(["serve", "--host", "0.0.0.0", "--port", "1"], environ) == 2
    assert "server.host: 0.0.0.0 is reachable from outside" in capsys.readouterr().err
    assert run(["serve", "--workers", "0"], environ) == 2
    assert "server.workers: at least 1" in capsys.readouterr().err


def test_a_port_in_use_is_exit_code_1_without_a_traceback(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["demo", "--port", str(port)], {}) == 1
    assert capsys.readouterr().err == f"gateway: Cannot listen on 127.0.0.1, port {port}: Address already in use.\n"


def test_a_port_that_is_none_is_exit_code_1(capsys: pytest.CaptureFixture[str]):
    assert run(["demo", "--port", "99999"], {}) == 1
    assert capsys.readouterr().err == "gateway: A port is 0 to 65535, not 99999.\n"


def test_every_address_of_a_name_is_listened_on():
    sockets = listen("localhost", 0)
    ports = {opened.getsockname()[1] for opened in sockets}
    url = url_of("localhost", sockets)
    for opened in sockets:
        opened.close()
    assert len(ports) == 1
    assert url == f"http://localhost:{ports.pop()}"


def test_the_metrics_directory_is_fresh_and_gone_afterwards():
    environ: dict[str, str] = {}
    with metrics_directory(environ) as directory:
        assert environ == {"PROMETHEUS_MULTIPROC_DIR": directory}
        assert Path(directory).is_dir()
    assert environ == {}
    assert not Path(directory).exists()


def test_a_metrics_directory_of_the_operators_is_emptied_and_kept(tmp_path: Path):
    (tmp_path / "counter_1.db").touch()
    with metrics_directory({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) as directory:
        assert directory == str(tmp_path)
        assert not list(tmp_path.glob("*.db"))
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "250ms"), (30, "30s"), (5400, "90m"), (86400, "24h"), (90000, "25h"), (172800, "2d")]
)
def test_a_duration_is_written_as_in_the_file(seconds: float, said: str):
    assert span(seconds) == said
