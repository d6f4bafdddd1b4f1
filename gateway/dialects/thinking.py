"""One scale of reasoning for all vendors: names of effort and budgets in tokens, mapped to each other."""

from typing import get_args

from gateway.conversation import Effort, Thinking

BUDGETS: dict[Effort, int] = {
    "none": 0,
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 65536,
}
"""Tokens for each effort, where a vendor counts tokens; the reader of a table may differ, the order may not."""


def budget_of(thinking: Thinking) -> int | None:
    """Tokens to think with: as said, or from the effort; None where neither was said."""
    if thinking.budget is not None:
        return thinking.budget
    return None if thinking.effort is None else BUDGETS[thinking.effort]


def effort_of(thinking: Thinking) -> Effort | None:
    """The effort: as said, or the smallest whose budget is not below the one said."""
    if thinking.effort is not None or thinking.budget is None:
        return thinking.effort
    return next((effort for effort, tokens in BUDGETS.items() if tokens >= thinking.budget), "max")


def clamp(effort: Effort, accepted: tuple[Effort, ...]) -> Effort:
    """The accepted effort that is nearest; the lower one of two equally near."""
    order = get_args(Effort)
    return min(accepted, key=lambda other: abs(order.index(other) - order.index(effort)))
