"""Where a session belongs when nothing is stored about it: a weighted rendezvous hash.

Every worker and replica agrees, it survives the store, and a session whose target recovers goes home by itself.
Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), the logarithmic method.
"""

from hashlib import blake2b
from math import log

from gateway.routing.table import Target


def score(session: str, target: Target) -> float:
    """How much a session prefers a target; over many sessions each target gets its weight's share."""
    whole = f"{session}\0{target.provider}\0{target.credential}".encode()
    number = int.from_bytes(blake2b(whole, digest_size=8).digest())
    return -target.weight / log((number + 1) / (2**64 + 1))
