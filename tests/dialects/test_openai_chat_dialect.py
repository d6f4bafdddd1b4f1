"""The package is a Dialect: every verb is there and says where and how a provider is reached."""

import inspect

import pytest

from gateway.dialects import openai_chat
from gateway.dialects.dialect import Dialect

CHAT: Dialect = openai_chat
VERBS = [name for name, value in vars(Dialect).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_takes_what_the_protocol_says(verb: str) -> None:
    own = inspect.signature(getattr(CHAT, verb)).parameters
    wanted = list(inspect.signature(getattr(Dialect, verb)).parameters.values())[1:]
    assert [(p.name, p.kind, p.default) for p in own.values()] == [(p.name, p.kind, p.default) for p in wanted]


def test_the_protocol_has_the_verbs_this_test_expects() -> None:
    assert len(VERBS) >= 20


def test_the_path_is_what_the_sdk_appends_to_its_base_url() -> None:
    assert CHAT.path("gpt-5", stream=True) == CHAT.path("gpt-5", stream=False) == "/chat/completions"


def test_a_key_goes_up_as_a_bearer_token() -> None:
    assert CHAT.auth("sk-1", {}) == {"authorization": "Bearer sk-1"}


def test_a_server_without_keys_gets_no_credential() -> None:
    assert CHAT.auth("", {}) == {}
