from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prompt_toolkit.styles import Style as ToolkitStyle
from rich.color import Color, ColorSystem
from rich.style import Style

from glmcode.base.settings import THEMES
from glmcode.repl import highlight
from glmcode.repl.highlight import KINDS, style_of
from glmcode.repl.paint import SAID_BY, Painter
from glmcode.repl.theme import Theme, background_of, depth_of, theme_of, toolkit
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode

RGB = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
MANY = {"TERM": "xterm-256color"}
BACKGROUNDS = {
    "dark": ("#000000", "#1e1e1e", "#282c34", "#002b36", "#2e3440"),
    "light": ("#ffffff", "#fdf6e3", "#eff1f5"),
}
READABLE = 4.5
CODE = "Look at `this`:\n\n```python\n@wrap\ndef f(a: int = 1) -> str:\n    return 'x'  # so\n```"


def shown(colour: str | Color, theme: Theme) -> tuple[int, int, int]:
    """What a terminal of the theme's depth makes of a colour; its own background is a str."""
    wanted = Color.parse(colour) if isinstance(colour, str) else colour
    if theme.depth == "256" and not isinstance(colour, str):
        wanted = wanted.downgrade(ColorSystem.EIGHT_BIT)
    return tuple(wanted.get_truecolor())  # type: ignore[return-value]


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """By the definition of WCAG 2."""

    def light(colour: tuple[int, int, int]) -> float:
        parts = [value / 255 for value in colour]
        lin = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def pairs(theme: Theme) -> Iterator[tuple[str, str | Color, str | Color]]:
    """Every colour of the theme with what it may stand upon."""
    lines = [Style.parse(theme.styles[name]).bgcolor for name in ("diff.add", "diff.remove")]
    for name, written in theme.styles.items():
        style = Style.parse(written)
        if style.color is None:
            continue
        if style.bgcolor is not None:
            yield name, style.color, style.bgcolor
            continue
        for background in BACKGROUNDS[theme.name]:
            yield name, style.color, background
        for line in lines:
            if line is not None and name.startswith("code."):
                yield name, style.color, line


@pytest.mark.parametrize("environment", [RGB, MANY], ids=["truecolor", "256"])
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_colour_can_be_read_on_what_it_stands_upon(
    name: str, environment: Mapping[str, str]
) -> None:
    theme = theme_of(name, environment)
    faint = [
        f"{style}: {contrast(shown(front, theme), shown(back, theme)):.2f} on {back}"
        for style, front, back in pairs(theme)
        if contrast(shown(front, theme), shown(back, theme)) < READABLE
    ]
    assert not faint
    assert len(list(pairs(theme))) > 60


@pytest.mark.parametrize("environment", [RGB, MANY, {"TERM": "xterm"}, RGB | {"NO_COLOR": "1"}])
def test_all_themes_know_the_same_names_and_both_libraries_take_them(
    environment: Mapping[str, str],
) -> None:
    names = set(theme_of("ansi", RGB).styles)
    assert {*KINDS.values(), *SAID_BY.values()} <= names
    for name in THEMES:
        styles = theme_of(name, environment).styles
        assert set(styles) == names
        for style in styles.values():
            Style.parse(style)
            ToolkitStyle.from_dict({"x": toolkit(style)})


def test_a_style_means_the_same_to_prompt_toolkit() -> None:
    assert toolkit("bold #ffffff on #870000") == "bold #ffffff bg:#870000"
    assert toolkit("bright_black italic") == "ansibrightblack italic"
    assert toolkit("none") == ""


@pytest.mark.parametrize(
    ("hint", "background"),
    [("15;0", "dark"), ("0;15", "light"), ("15;default;0", "dark"), ("0;default;7", "light"),
     ("12;8", "dark"), ("", None), ("default;default", None), ("0;99", None), ("0;-1", None),
     ("0;٣", None)],
)  # fmt: skip
def test_the_background_is_known_only_from_a_hint(hint: str, background: str | None) -> None:
    assert background_of({"COLORFGBG": hint}) == background


def test_without_a_hint_the_colours_are_the_terminals_own() -> None:
    assert theme_of("auto", RGB).styles == theme_of("ansi", RGB).styles
    hinted = theme_of("auto", RGB | {"COLORFGBG": "0;15"})
    assert hinted.styles == theme_of("light", RGB).styles
    assert not any("#" in style for style in theme_of("ansi", RGB).styles.values())


@pytest.mark.parametrize(
    ("environment", "depth"),
    [
        (RGB, "truecolor"),
        (MANY, "256"),
        ({"TERM": "xterm"}, "16"),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "xterm-kitty"}, "256"),
        ({"TERM": "xterm-direct"}, "truecolor"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, "truecolor"),
        (RGB | {"NO_COLOR": "1"}, "none"),
        (RGB | {"NO_COLOR": ""}, "truecolor"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({}, "none"),
    ],
)
def test_the_depth_is_what_the_terminal_promises(
    environment: Mapping[str, str], depth: str
) -> None:
    assert depth_of(environment) == depth


def forget_depth() -> None:
    """rich keeps a style's escape whatever terminal it was made for: a process has one."""
    Style.parse.cache_clear()
    Style._add.cache_clear()
    highlight._made.cache_clear()


def codes(theme: Theme) -> set[str]:
    forget_depth()
    painter = Painter(80, theme=theme)
    lines = [
        *painter.markdown(CODE),
        *painter.spans([("error", "no"), ("dim", "so")]),
        *painter.diff("@@ -1 +1 @@\n-a\n+b\n", limit=9),
    ]
    return set(re.findall(r"\x1b\[([0-9;]*)m", "\n".join(lines)))


def test_what_is_painted_has_the_colours_that_the_terminal_has() -> None:
    for name in THEMES:
        assert not any(
            "38;2" in code or "38;5" in code for code in codes(theme_of(name, {"TERM": "xterm"}))
        )
        assert not any("38;2" in code for code in codes(theme_of(name, MANY)))
        without = codes(theme_of(name, RGB | {"NO_COLOR": "1"}))
        assert without <= {"0", "1", "2", "3", "4", "1;4", "2;3"}, without
    assert any("38;2" in code for code in codes(theme_of("dark", RGB)))
    assert any("38;5" in code for code in codes(theme_of("dark", MANY)))
    assert any("48;2" in code for code in codes(theme_of("dark", RGB)))


def test_a_theme_is_changed_at_once() -> None:
    forget_depth()
    painter = Painter(80, theme=theme_of("dark", RGB))
    before = painter.markdown("Some `code`")
    painter.theme = theme_of("light", RGB)
    after = painter.markdown("Some `code`")
    assert before != after and "38;2;127;216;216" in before[0] and "38;2;0;96;100" in after[0]


def test_a_kind_of_token_without_a_name_is_painted_as_the_one_above_it() -> None:
    assert style_of(("Literal", "String", "Doc")) == "code.string"
    assert style_of(("Keyword", "Type")) == "code.class"
    assert style_of(("Text",)) == ""


def test_another_theme_holds_at_once_for_what_moves_and_for_what_is_printed(
    tmp_path: Path,
) -> None:
    rgb = {"COLORTERM": "truecolor", "GLMCODE_UI__THEME": "dark"}
    with FakeEngine([]) as engine:
        words = ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm")
        with glmcode(tmp_path, *words, env=rgb) as session:
            session.wait_for_visible("ready")
            assert "38;2;127;215;255" in session.raw, "the mark before the input, in dark"
            assert "38;2;0;95;135" not in session.raw
            session.type("/theme\r")
            session.wait_for("/theme NAME changes it")
            assert session.screen.text.count("(now)") == 1 and "dark (now)" in session.screen.text
            session.type("/theme light\r")
            session.wait_for("theme light; for good: /config ui.theme light")
            changed = session.raw.rindex("theme light")
            session.wait_until(lambda: "38;2;0;95;135" in session.raw[changed:], "light's mark")
            session.type("/theme dusk\r")
            session.wait_for("no theme is called dusk: there are auto, dark, light, ansi")
            assert "38;2;122;82;0" in session.raw, "a warning, in light"


def test_no_colour_is_written_where_none_is_wanted(tmp_path: Path) -> None:
    none = {"COLORTERM": "truecolor", "NO_COLOR": "1", "GLMCODE_UI__THEME": "dark"}
    with FakeEngine([Reply(text=CODE)]) as engine:
        words = ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm")
        with glmcode(tmp_path, *words, env=none) as session:
            session.wait_for_visible("ready")
            session.type("go\r/theme\r")
            session.wait_for("def f(a")
            session.wait_for("without colours here")
            session.wait_for_visible("ready")
            assert not {
                code
                for code in session.screen.styled
                if re.search(r"\b(3[0-8]|4[0-8]|9\d)\b", code)
            }
