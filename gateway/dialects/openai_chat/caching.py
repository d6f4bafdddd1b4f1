"""What OpenAI is told about a session, so that its turns meet the same prompt cache.

Source: https://platform.openai.com/docs/guides/prompt-caching
"""

from gateway.dialects.openai_chat.models import is_openai


def cache_hint(body: bytes, *, model: str, key: str, history: bool) -> bytes:
    """The body with the session's `prompt_cache_key`, for OpenAI's own models: other servers may refuse the member."""
    del history
    if not is_openai(model) or b'"prompt_cache_key":' in body:
        return body
    return b'%b,"prompt_cache_key":"%b"}' % (body[:-1], key.encode())
