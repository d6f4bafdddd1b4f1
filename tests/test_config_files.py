"""The files in config/ are right, and say what the code says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import to_builtins

from gateway.commands.check import warnings
from gateway.config import Config, parse

FILES = sorted((Path(__file__).parents[1] / "config").glob("*.yaml"))
COMMENTED = next(path for path in FILES if path.name == "gateway.yaml")


def environment(text: str) -> dict[str, str]:
    """A value for every variable that the file insists on."""
    return {name: f"{name}-0123456789" for name in re.findall(r"\$\{(\w+)\}", text)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_right_and_has_nothing_to_warn_of(path: Path):
    text = path.read_text()
    config = parse(text, environment(text))
    assert config.models
    assert [warning for warning in warnings(config) if "not set" not in warning] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_is_written_out(path: Path):
    tree = yaml.safe_load(path.read_text())
    keys = [key for provider in tree["providers"].values() for key in provider["keys"]]
    assert all("${" in (key["key"] if isinstance(key, dict) else key) for key in keys)


def test_the_commented_file_starts_as_it_is():
    text = COMMENTED.read_text()
    config = parse(text, {})
    assert set(config.models) >= {"smart", "gpt-*", "claude-*", "gemini-*"}


def test_the_commented_file_shows_every_setting_at_its_default():
    given, default = yaml.safe_load(COMMENTED.read_text()), tree_of(Config())
    ours = tree_of(parse(COMMENTED.read_text(), {}))
    for section in ("server", "auth", "sessions", "history", "responses", "routing", "streaming"):
        shown, wanted = leaves(given[section]), leaves(default[section])
        assert set(wanted) == set(shown), section
        assert leaves(ours[section]) == wanted, section


def tree_of(config: Config) -> Any:
    return to_builtins(config, enc_hook=float)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {leaf: value for name, below in tree.items() for leaf, value in leaves(below, (*path, name)).items()}
