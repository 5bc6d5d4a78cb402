"""Long pastes, which stand in the input as one character each and are drawn as a few words.

The character is a high surrogate: no terminal, file or editor can hand one over as UTF-8, so
nothing that a person types or pastes, private-use characters included, is ever taken for it.
Whatever leaves the input (to the conversation, the history's file, the editor) is made whole
first. Must not shorten or change what was pasted.
"""

from __future__ import annotations

import re

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

LONG_LINES = 10
LONG_CHARS = 1_000
_FIRST, _END = 0xD800, 0xDC00
_MARK = re.compile("([\ud800-\udbff])")
KEPT_FREE = 512
"""So many characters are left for what is pasted in this session, whatever the history holds."""


class Pastes:
    """Which character stands for which text, as long as the session lasts."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._marks: dict[str, str] = {}

    def mark(self, text: str, *, spare: int = 0) -> str:
        """The character that stands for a paste, so that `spare` others remain; the text itself
        where there is none left."""
        known = self._marks.get(text)
        if known is not None:
            return known
        number = _FIRST + len(self._texts)
        if number >= _END - spare:
            return text
        mark = chr(number)
        self._texts[mark], self._marks[text] = text, mark
        return mark

    def pasted(self, text: str) -> str:
        """What is inserted for a paste: the text, or the character for a long one."""
        return self.mark(text) if is_long(text) else text

    def whole(self, text: str) -> str:
        """The text with each paste in its place."""
        if not self._texts:
            return text
        return _MARK.sub(lambda found: self._texts.get(found[0], ""), text)

    def folded(self, text: str) -> str:
        """The text, each paste of this session that it holds folded again."""
        if not is_long(text):
            return text
        for paste in sorted(self._marks, key=len, reverse=True):
            if len(paste) <= len(text) and paste in text:
                text = text.replace(paste, self._marks[paste])
        return text

    def is_mark(self, char: str) -> bool:
        """Whether a character stands for a paste."""
        return char in self._texts

    def marks_in(self, text: str) -> list[int]:
        """Where in a text such characters stand."""
        return [found.start() for found in _MARK.finditer(text) if self.is_mark(found[0])]

    def parts(self, text: str) -> list[str]:
        """Typed and pasted by turns, typed first: one part where nothing was folded."""
        found = _MARK.split(text)
        return [*found[:1], *(self.whole(part) for part in found[1:])]

    def joined(self, parts: list[str]) -> str:
        """The text of such parts, as it stood in the input, of an earlier session."""
        text = ""
        for number, part in enumerate(parts):
            clean = _MARK.sub("\N{REPLACEMENT CHARACTER}", part)
            text += self.mark(clean, spare=KEPT_FREE) if number % 2 and clean else clean
        return text

    def label(self, mark: str) -> str:
        """What is drawn for it."""
        return described(self._texts[mark])


class FoldedPastes(Processor):
    """Draws the characters of pastes as what they stand for."""

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """One character becomes its words; the cursor on it stands at their beginning."""
        fragments = transformation_input.fragments
        if not any(_MARK.search(text) for _, text, *_ in fragments):
            return Transformation(fragments)
        shown: StyleAndTextTuples = []
        starts: list[int] = []
        sources: list[int] = []
        for source, (style, text, *_) in enumerate(explode_text_fragments(fragments)):
            folded = self._pastes.is_mark(text)
            drawn = self._pastes.label(text) if folded else text
            starts.append(len(sources))
            sources += [source] * len(drawn)
            shown.append((f"{style} class:dim" if folded else style, drawn))
        end = len(sources)
        return Transformation(
            shown,
            source_to_display=lambda at: starts[at] if at < len(starts) else end + at - len(starts),
            display_to_source=lambda at: sources[at] if at < end else len(starts) + at - end,
        )


def is_long(text: str) -> bool:
    """Whether a paste is folded."""
    return len(text) > LONG_CHARS or text.rstrip("\n").count("\n") >= LONG_LINES


def described(text: str) -> str:
    """ "[pasted 5,000 lines, 212 KB]": a last line end makes no line of its own."""
    lines = text.removesuffix("\n").count("\n") + 1
    size = float(len(text.encode("utf-8", "replace")))
    units = iter(("bytes", "KB", "MB", "GB"))
    unit = next(units)
    while size >= 999.5 and unit != "GB":
        size, unit = size / 1_000, next(units)
    digits = 1 if unit != "bytes" and size < 9.95 else 0
    return f"[pasted {lines:,} line{'' if lines == 1 else 's'}, {size:.{digits}f} {unit}]"
