"""What a turn changes in a session's head."""

from msgspec import UNSET
from msgspec.structs import replace

from gateway.conversation import Usage
from gateway.sessions.store import Append, Head, Patch, Pin, Totals


def after(head: Head, append: Append, *, now: int, expires: int, number: int, size: int) -> Head:
    """The head behind a turn that was stored as `number`; `size` is that of all turns then."""
    origin = append.turn.reply.origin
    return replace(
        head,
        revision=head.revision + 1,
        next=number + 1,
        size=size,
        updated=now,
        expires=expires,
        cut=head.cut if append.cut is None else append.cut,
        resends=head.resends if append.resends is None else append.resends,
        pin=_pin(head.pin, append),
        last=origin or head.last,
        totals=_sum(head.totals, append),
    )


def expiry(head: Head, append: Append, now: int) -> int:
    """When a session expires behind a turn."""
    limits = append.limits
    expires = min(now + int(limits.ttl * 1000), head.created + int(limits.max_age * 1000))
    return max(expires if expires > now else head.expires, head.kept)


def patched(head: Head, patch: Patch, now: int) -> Head:
    """What an operator's patch changes in the head, `next` and `cut` of dropped turns included."""
    following = max(head.first, head.next - patch.drop_last)
    kept = head.kept if patch.keep is None else now + int(patch.keep * 1000)
    return replace(
        head,
        revision=head.revision + 1,
        next=following,
        cut=min(head.cut, following),
        kept=kept,
        expires=head.expires if patch.keep is None else kept,
        pin=head.pin if patch.pin is UNSET else patch.pin,
        context=head.context if patch.context is None else patch.context,
    )


def _pin(pin: Pin | None, append: Append) -> Pin | None:
    if pin != append.pin_was or (append.pin is None and not append.drop_pin):
        return pin
    return None if append.drop_pin else append.pin


def _sum(totals: Totals, append: Append) -> Totals:
    one, usage = append.turn.usage or Usage(), totals.usage
    return Totals(
        turns=totals.turns + 1,
        messages=totals.messages + append.messages,
        usage=Usage(
            usage.input + one.input,
            usage.output + one.output,
            usage.cached + one.cached,
            usage.cache_write + one.cache_write,
            usage.reasoning + one.reasoning,
        ),
        cost=totals.cost + (append.cost or 0.0),
        unpriced=totals.unpriced + (append.cost is None),
    )
