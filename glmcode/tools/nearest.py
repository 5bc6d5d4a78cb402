"""What to tell a model whose old text is not in the file: the likely mistake, the real lines.

First the mistakes that models make again and again (line numbers copied from Read, \\n written
as two characters, curly quotes); then the lines of the file that come closest, with their
numbers. All of it is bounded: only a few candidates are compared, each cut to a few characters,
so that a large or hostile file costs no more than a moment. Never changes or chooses anything.
"""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

_NUMBERED = re.compile(r"^\s*\d+(?:\t|→|: ?|\| ?)", re.MULTILINE)
_ELLIPSIS = re.compile(r"^\W*(?:\.\.\.|…)\W*$|\.\.\. *(?:existing|rest of|unchanged)", re.M | re.I)
_LOOKALIKES = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "‟": '"',
        "–": "-",
        "—": "-",
        "−": "-",
        "‑": "-",
        "‐": "-",
        "\u00a0": " ",
        "\u2007": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\u3000": " ",
    }
)
_SHOWN_LINES = 12
_SHOWN_WIDTH = 160
_COMPARED_LINES = 8
_COMPARED_WIDTH = 100
_CANDIDATES = 5
_POOL = 400


def explain_miss(text: str, old: str, new: str) -> str:
    """What is wrong with `old`, which does not stand in `text` (both with \\n line ends)."""
    if not text.strip():
        return "The file is empty: use Write."
    lines = text.split("\n")
    advice = _mistake(text, old)
    if not advice and len(new.strip()) > 3 and new in text:
        line = text.count("\n", 0, text.find(new)) + 1
        advice = f"new_string stands at line {line} already: was this edit made before?"
    start = _closest(lines, text, old)
    shown = "" if start is None else _show(lines, start, old, text)
    if not shown:
        return advice or "Nothing there resembles it: Read the file again and copy the text."
    return f"{advice or 'Copy it exactly, without the numbers.'} The closest lines are:\n{shown}"


def _mistake(text: str, old: str) -> str:
    """The advice for a known mistake, or ""."""
    if len(_NUMBERED.findall(old)) == len([one for one in old.split("\n") if one.strip()]):
        return "old_string carries Read's line numbers: leave out the number and the tab."
    tries: tuple[tuple[Callable[[str], str], str], ...] = (
        (_unescaped, 'Write real line breaks, tabs and quotes, not \\n, \\t or \\".'),
        (_escaped, "The file has \\n or \\t there as two characters: write them so."),
        (html.unescape, "Write <, > and & themselves, not &lt;, &gt; and &amp;."),
        (_entities, "The file has &lt;, &gt; or &amp; there: write them so."),
    )
    for change, advice in tries:
        changed = change(old)
        if changed != old and changed in text:
            return advice
    if _alike(old) in _alike(text):
        return "Quotes, dashes, spaces or accents differ: copy those of the file."
    if old.casefold() in text.casefold():
        return "Upper and lower case differ."
    if old.strip() and " ".join(old.split()) in " ".join(text.split()):
        return "The words stand there, but line breaks or spaces differ."
    if _ELLIPSIS.search(old):
        return "Write every line out: '...' stands for nothing."
    return ""


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\\'", "'")


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _entities(text: str) -> str:
    return html.escape(text, quote=False)


def _alike(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_LOOKALIKES))


def _closest(lines: Sequence[str], text: str, old: str) -> int | None:
    """The index of the line where the most similar stretch begins; None if there is none."""
    wanted = old.strip("\n").split("\n")
    starts = _by_equal_lines(lines, wanted)
    reached, length = _longest_head(text, old.strip())
    if length:
        blank = next(i for i, one in enumerate(wanted) if one.strip())
        line = text.count("\n", 0, reached) - blank
        if 2 * length > len(old.strip()):
            return max(line, 0)
        starts.append(line)
    if not starts:
        starts = _by_words(lines, wanted)
    best, best_score = None, 0.35
    for start in dict.fromkeys(max(0, min(one, len(lines) - 1)) for one in starts):
        score = _likeness(lines[start : start + len(wanted)], wanted)
        if score > best_score:
            best, best_score = start, score
    return best


def _by_equal_lines(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Starts for which most of the wanted lines stand at their place, likeliest first."""
    offsets: dict[str, int] = {}
    for index, one in enumerate(wanted):
        if len(one.strip()) > 2:
            offsets.setdefault(one.strip(), index)
    votes: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for index, line in enumerate(lines):
        word = line.strip()
        if word in offsets and seen[word] < 50:
            seen[word] += 1
            votes[index - offsets[word]] += len(word)
    return [start for start, _ in votes.most_common(_CANDIDATES)]


def _longest_head(text: str, wanted: str) -> tuple[int, int]:
    """Where the longest beginning of `wanted` stands, and its length; 0 if that tells nothing."""
    low, high = 0, min(len(wanted), 4_000)
    while low < high:
        middle = (low + high + 1) // 2
        if wanted[:middle] in text:
            low = middle
        else:
            high = middle - 1
    return (text.find(wanted[:low]), low) if low >= max(6, len(wanted) // 8) else (0, 0)


def _by_words(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Starts whose line shares the most words with the wordiest wanted line."""
    offset = max(range(len(wanted)), key=lambda i: len(wanted[i].strip()))
    words = set(re.findall(r"\w+", wanted[offset][:1_000]))
    if not words:
        return []
    scores: list[tuple[float, int]] = []
    for index, line in enumerate(lines):
        have = set(re.findall(r"\w+", line[:1_000]))
        shared = len(words & have)
        if shared:
            scores.append((-shared / len(words | have), index))
    if not scores:
        pool = list(dict.fromkeys(line[:_COMPARED_WIDTH] for line in lines[:_POOL] if line.strip()))
        close = difflib.get_close_matches(wanted[offset][:_COMPARED_WIDTH], pool, 1, 0.5)
        at = [i for i, line in enumerate(lines[:_POOL]) if line[:_COMPARED_WIDTH] in close]
        scores = [(0.0, index) for index in at]
    return [index - offset for _, index in sorted(scores)[:_CANDIDATES]]


def _likeness(found: Sequence[str], wanted: Sequence[str]) -> float:
    """How alike two stretches are, 0 to 1, by their first lines and characters."""
    total = 0.0
    pairs = list(zip(found, wanted, strict=False))[:_COMPARED_LINES]
    for a, b in pairs:
        one, two = a.strip()[:_COMPARED_WIDTH], b.strip()[:_COMPARED_WIDTH]
        total += 1.0 if one == two else difflib.SequenceMatcher(None, one, two).ratio()
    return total / max(1, min(len(wanted), _COMPARED_LINES))


def _show(lines: Sequence[str], start: int, old: str, text: str) -> str:
    """The stretch as Read shows it; a long line around the place where it departs."""
    count = min(len(old.strip("\n").split("\n")), _SHOWN_LINES)
    reached, length = _longest_head(text, old.strip())
    column = reached - text.rfind("\n", 0, reached) - 1 if length else 0
    shown = []
    for number, line in enumerate(lines[start : start + count], start + 1):
        if len(line) > _SHOWN_WIDTH:
            begin = max(0, column - 20) if number == start + 1 else 0
            cut = line[begin : begin + _SHOWN_WIDTH]
            line = f"{'...' if begin else ''}{cut}..."
        shown.append(f"{number}\t{line}")
    return "\n".join(shown)
