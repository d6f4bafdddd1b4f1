"""Content sealed before it is stored: compressed, encrypted, or both (feature B4).

What was said is one value, so that neither its length by message nor its roles can be read: the bytes below, in the
place of the messages.

    magic (4)  flags (1)  [length of the key's id (1)  the key's id  nonce (12)]  content  [tag (16)]

The content is MessagePack, a list of byte strings, or Zstandard of that; encrypted with AES-256-GCM (NIST SP 800-38D),
bound to the session and to what it is, so that nothing can be moved from one place to another.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec
import zstandard

from gateway.config import ConfigError, Encryption
from gateway.errors import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"\0gw\x01"
"""What no JSON begins with. The last byte is the version."""
COMPRESSED: Final = 1
ENCRYPTED: Final = 2
LONG: Final = 256 << 10
"""Bytes beyond which sealing takes long enough to be done in a thread."""

_NONCE: Final = 12
_WORTH: Final = 256
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[bytes, ...])


class Seal:
    """Seals and opens. The first key seals, every key opens; without any nothing is encrypted.

    `compress` is whether new content is compressed. Raises ConfigError if there are keys and no library for them.
    """

    def __init__(self, encryption: Encryption, *, compress: bool) -> None:
        self._compress = compress
        self._ciphers = {key.id: _cipher(_derived(key.secret, b"content")) for key in encryption.keys}
        self._first = encryption.keys[0].id if encryption.keys else ""
        self.active = self._compress or bool(self._ciphers)
        """Whether anything is sealed; what is sealed already is opened in any case."""
        self.digest_keys = tuple(_derived(key.secret, b"digests") for key in encryption.keys)

    def seal(self, messages: Sequence[bytes], place: str) -> tuple[bytes, ...]:
        """One value in the place of `messages`. `place` is where it belongs, and the only place where it opens."""
        content, flags = _ENCODER.encode(messages), 0
        if self._compress and len(content) >= _WORTH:
            smaller = zstandard.ZstdCompressor().compress(content)
            if len(smaller) < len(content):
                content, flags = smaller, COMPRESSED
        if not self._ciphers:
            return (MAGIC + bytes((flags,)) + content,)
        flags |= ENCRYPTED
        name, nonce = self._first.encode(), os.urandom(_NONCE)
        head = MAGIC + bytes((flags, len(name))) + name
        return (head + nonce + self._ciphers[self._first].encrypt(nonce, content, head + place.encode()),)

    def open(self, stored: Sequence[bytes], place: str) -> tuple[bytes, ...]:
        """What was sealed; what never was is returned as it is. Raises StoreError."""
        if len(stored) != 1 or not stored[0].startswith(MAGIC[:-1]):
            return tuple(stored)
        data = stored[0]
        if data[3:4] != MAGIC[-1:]:
            message = "This session was sealed by a newer version of the gateway; upgrade the gateway."
            raise StoreError(message, code="session_format")
        try:
            flags, content = data[4], data[5:]
            if flags & ENCRYPTED:
                content = self._decrypted(data, place)
            if flags & COMPRESSED:
                content = zstandard.ZstdDecompressor().decompress(content)
            return _DECODER.decode(content)
        except (LookupError, ValueError, msgspec.MsgspecError, zstandard.ZstdError):
            raise _damaged() from None

    def _decrypted(self, data: bytes, place: str) -> bytes:
        end = 6 + data[5]
        name = data[6:end].decode("utf-8", "replace")
        cipher = self._ciphers.get(name)
        if cipher is None:
            message = f"This session is encrypted with the key {name!r}, which is not among sessions.encryption.keys."
            raise StoreError(message, code="session_key_missing")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra, there if there is a cipher

        try:
            return cipher.decrypt(data[end : end + _NONCE], data[end + _NONCE :], data[:end] + place.encode())
        except InvalidTag:
            raise _damaged() from None


def _derived(secret: bytes, use: bytes) -> bytes:
    """A key of its own for each use: knowing one tells nothing of another."""
    return blake2b(key=secret, person=b"gateway " + use, digest_size=32).digest()


def _cipher(key: bytes) -> "AESGCM":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        message = "sessions.encryption: install the extra `encryption` of this package (it brings cryptography)."
        raise ConfigError(message) from None
    return AESGCM(key)


def _damaged() -> StoreError:
    message = "This session's content cannot be decrypted: it was changed, moved, or its key is another; delete it."
    return StoreError(message, code="session_damaged")
