"""Commands as they go over the wire, and the scripts that most of ours run.

Source of the format: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from functools import cached_property
from hashlib import sha1
from importlib.resources import files

from hiredis import pack_command

Args = tuple[str | bytes | float, ...]


def pack(args: Args) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = pack_command(args)  # type: ignore[arg-type] # the stub says a tuple of one
    return packed


class Script:
    """A Lua script beside this file, or in another package."""

    def __init__(self, name: str, package: str = __package__) -> None:
        self._name = name
        self._package = package

    @cached_property
    def source(self) -> str:
        """The text."""
        return files(self._package).joinpath(f"{self._name}.lua").read_text("utf-8")

    @cached_property
    def sha(self) -> str:
        """What EVALSHA calls it by."""
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def packed(self, keys: tuple[str, ...], args: Args) -> bytes:
        """The command that runs it on a server that knows it."""
        return pack(("EVALSHA", self.sha, len(keys), *keys, *args))

    def spelled_out(self, packed: bytes) -> bytes:
        """The same command for a server that does not know it: restarted, failed over, flushed."""
        source = self.source.encode()
        short = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self.sha.encode()
        return packed.replace(short, b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(source), source), 1)
