"""/context as rows: a bar of the window, then what fills it. Pure; must not count."""

from __future__ import annotations

from glmcode.agent_context import Holdings

BAR = 48
_MARKS = {True: "█▒·░", False: "#=.-"}


def context_rows(held: Holdings, *, unicode: bool) -> list[tuple[str, str]]:
    """Labels and values; unicode: whether the terminal can show block characters."""
    rows = []
    about = "" if held.exact else "about "
    if held.window:
        share = f"{100 * held.used / held.window:.0f} %"
        rows.append(("window", f"[{_bar(held, _MARKS[unicode])}]"))
        rows.append(("used", f"{about}{held.used:,} of {held.window:,} tokens ({share})"))
    else:
        rows.append(("used", f"{about}{held.used:,} tokens; the server does not say of how many"))
    rows += [(f"  {name}", f"{tokens:,}") for name, tokens in held.parts]
    if held.window:
        free = max(0, held.window - held.used - held.reserved)
        then = "the conversation is compacted" if held.automatic else "nothing fits any more"
        what = "an answer, a tool result and a summary" if held.automatic else "a last answer"
        rows.append(("free", f"{free:,} until {then}"))
        rows.append(("reserved", f"{held.reserved:,} for {what}"))
    rows.append(("reasoning", _reasoning(held)))
    return rows


def _bar(held: Holdings, marks: str) -> str:
    """Preamble, messages, free, reserved."""
    names = ("tool specs", "system prompt", "instructions", "repository map")
    head = sum(tokens for name, tokens in held.parts if name in names)
    ends = (head, held.used, max(held.used, held.window - held.reserved), held.window)
    cells, at = "", 0
    for mark, end in zip(marks, ends, strict=True):
        upto = min(BAR, round(BAR * end / held.window))
        cells += mark * (upto - at)
        at = max(at, upto)
    return cells


def _reasoning(held: Holdings) -> str:
    """What the policy costs, and what the other one would."""
    if held.reasoning == "template":
        return (
            f"template: {held.earlier:,} tokens of earlier turns are cut (keep would hold them, "
            "and nothing would be computed again at a new message)"
        )
    if not held.earlier:
        return "keep: none of earlier turns yet"
    return (
        f"keep: {held.earlier:,} tokens of earlier turns (template would cut them, and "
        f"{held.again:,} tokens after the first would be computed again)"
    )
