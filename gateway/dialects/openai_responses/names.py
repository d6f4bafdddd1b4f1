"""Names of tools inside a `namespace`, made flat for those who know no namespaces, and the way back.

A flat name is `<namespace>__<name>_<six hex digits of a digest over both>`. The digest tells where the namespace
ends, and that it is one at all; so no table is needed to read it. A name longer than the 64 characters that vendors
take is cut, and then only a table of the request's tools can tell.
"""

import re
from hashlib import sha256

LONGEST = 64
_FLAT = re.compile(r"(.+__.+)_([0-9a-f]{6})", re.DOTALL)


def flat(namespace: str, name: str) -> str:
    """One name for a tool in a namespace."""
    plain = f"{namespace}__{name}"
    return f"{plain[: LONGEST - 7]}_{_mark(namespace, name)}"


def split(name: str) -> tuple[str, str]:
    """Namespace and name; the namespace is "" where the name is not a flat one."""
    match = _FLAT.fullmatch(name)
    if match is not None:
        body, mark = match[1], match[2]
        for found in re.finditer("(?=__)", body):
            namespace, inner = body[: found.start()], body[found.start() + 2 :]
            if _mark(namespace, inner) == mark:
                return namespace, inner
    return "", name


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, or a digest of it where the vendor would refuse its length."""
    return text if len(text) <= longest else sha256(text.encode()).hexdigest()[:longest]


def _mark(namespace: str, name: str) -> str:
    return sha256(f"{namespace}\0{name}".encode()).hexdigest()[:6]
