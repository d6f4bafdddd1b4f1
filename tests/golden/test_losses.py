"""Any conversation survives a trip through any dialect, up to the losses that are listed."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversation import (
    Audio,
    File,
    Image,
    Message,
    Origin,
    Reasoning,
    Refusal,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)  # fmt: skip
from gateway.dialects.registry import DIALECTS
from tests.golden.losses import NAMES, PAGE, essence, page, told

TARGET = {
    "openai_chat": Origin("up", "gpt-5.1"),
    "openai_responses": Origin("up", "gpt-5.1"),
    "anthropic": Origin("up", "claude-sonnet-4-5"),
    "gemini": Origin("up", "gemini-2.5-pro"),
}
MARKED = re.compile(r"</?system(?:-message)?>\n?")

words = st.text('abc dé☀"\\', min_size=1, max_size=12).map(lambda text: f"w{text}w")
texts = st.builds(Text, words)
images = st.one_of(
    st.builds(
        Image, media_type=st.just("image/png"), data=st.just("iVBORw0KGgo="), detail=st.sampled_from(["", "low"])
    ),
    st.builds(Image, media_type=st.just("image/jpeg"), url=st.just("https://example.com/a.jpg")),
)
files = st.builds(File, media_type=st.just("application/pdf"), data=st.just("JVBERi0="), name=st.just("a.pdf"))
sounds = st.builds(Audio, media_type=st.just("audio/wav"), data=st.just("UklGRg=="))
thoughts = st.builds(
    Reasoning, text=words, signature=st.none() | st.just(Signature("sig", "elsewhere", Origin("other", "m")))
)
arguments = st.sampled_from(["{}", '{"n":1152921504606846976,"b":[1,null]}', '{"z":"\\u00e9","a":{}}'])


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns as they happen: a question, an answer with or without calls, and the results of all of them."""
    messages: list[Message] = []
    for turn in range(draw(st.integers(1, 3))):
        if turn and draw(st.booleans()):
            messages.append(Message("system", (draw(texts),)))
        messages.append(Message("user", tuple(draw(st.lists(texts | images | files | sounds, min_size=1, max_size=3)))))
        messages.append(Message("user", (draw(texts),)))
        calls = [
            ToolCall(f"call_{turn}_{n}", draw(st.sampled_from(["f", "g"])), draw(arguments))
            for n in range(draw(st.integers(0, 2)))
        ]
        said = draw(st.lists(texts, min_size=1, max_size=2) | st.builds(Refusal, words).map(lambda part: [part]))
        messages.append(Message("assistant", (*draw(st.lists(thoughts, max_size=1)), *said, *calls)))
        results = tuple(
            ToolResult(
                call.id, (draw(texts), *draw(st.lists(images, max_size=1))), call.name, is_error=draw(st.booleans())
            )
            for call in calls
        )
        messages += [Message("user", results)] if results else []
    return messages


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=60, deadline=None)
@given(conversation=conversations())
def test_a_conversation_comes_back_but_for_the_listed_losses(dialect: str, conversation: list[Message]) -> None:
    verbs = DIALECTS[dialect]
    encoded = verbs.encode_messages(conversation, TARGET[dialect])
    assert set(encoded.dropped) <= told(dialect)
    back = verbs.decode_messages(encoded.messages, TARGET[dialect])
    assert unmarked(essence(back, dialect)) == unmarked(essence(conversation, dialect))
    assert verbs.encode_messages(conversation, TARGET[dialect]) == encoded


def unmarked(said: object) -> str:
    """Without the marks round a system text, and without white space, which they bring."""
    return re.sub(r"\\n|\s", "", MARKED.sub("", repr(said)))


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page()
