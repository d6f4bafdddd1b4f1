"""What OpenAI is told about a session, so that its turns meet the same prompt cache.

Source: https://platform.openai.com/docs/guides/prompt-caching
"""

from gateway.dialects.lists import Payload, ended, occurrences
from gateway.dialects.openai_chat.models import is_openai


def cache_hint(body: Payload, *, model: str, key: str, history: bool) -> Payload:
    """The body with the session's `prompt_cache_key`, for OpenAI's own models: other servers may refuse the member."""
    del history
    if not is_openai(model) or occurrences(body, b'"prompt_cache_key":'):
        return body
    return ended(body, b',"prompt_cache_key":"%b"}' % key.encode())
