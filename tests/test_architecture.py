"""The structure holds: imports point one way, pure modules stay pure, nothing grows beyond its limits."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "gateway"
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

PURE = (
    "conversation.py",
    "errors.py",
    "dialects/",
    "routing/",
    "sessions/history.py",
    "config.py",
    "checks.py",
    "explain.py",
)
IMPURE_MODULES = {
    "asyncio", "anyio", "socket", "time", "random", "secrets", "uuid", "os", "subprocess", "threading", "redis",
    "httpx", "aiohttp", "litestar", "uvicorn", "logging", "pathlib", "tempfile",
}  # fmt: skip

LAYERS = [
    {"gateway.__main__", "gateway.commands"},
    {"gateway.app"},
    {"gateway.api", "gateway.console"},
    {"gateway.exchange", "gateway.passthrough"},
    {"gateway.arrivals", "gateway.patience"},
    {"gateway.ask"},
    {"gateway.fleet", "gateway.ledger"},
    {
        "gateway.alone",
        "gateway.reload",
        "gateway.credentials",
        "gateway.upstream",
        "gateway.metrics",
        "gateway.journal",
        "gateway.logs",
        "gateway.sessions",
        "gateway.traces",
        "gateway.watch",
    },
    {"gateway.dialects", "gateway.routing"},
    {"gateway.conversation", "gateway.config", "gateway.checks", "gateway.explain"},
    {"gateway.errors"},
]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer_of(module: str) -> int | None:
    for depth, layer in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in layer):
            return depth
    return None


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name: str) -> None:
    path = ROOT / name
    here = layer_of(module_of(path))
    for imported in imports_of(path):
        there = layer_of(imported)
        if here is not None and there is not None:
            assert there >= here, f"{name} imports {imported}, which is above it"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("dialects/")])
def test_dialects_do_not_import_each_other(name: str) -> None:
    own = name.split("/")[1]
    for imported in imports_of(ROOT / name):
        other = imported.removeprefix("gateway.dialects.").split(".")[0]
        if imported.startswith("gateway.dialects.") and (ROOT / "dialects" / other).is_dir():
            assert name == "dialects/registry.py" or other == own, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(PURE)])
def test_pure_modules_do_no_io(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    asynchronous = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    assert not asynchronous
    for imported in imports_of(ROOT / name):
        assert imported.split(".")[0] not in IMPURE_MODULES, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "__main__.py"])
def test_only_main_reads_the_environment(name: str) -> None:
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ("environ", "getenv"), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_grows_beyond_its_limits(name: str) -> None:
    text = (ROOT / name).read_text()
    limit = 200 if name == "exchange.py" else 500
    assert text.count("\n") <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{name}: {node.name}"
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert len([a for a in given if a.arg not in ("self", "cls")]) <= 6, f"{name}: {node.name}"
