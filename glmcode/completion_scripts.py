"""The completion scripts of bash, zsh and fish, made from the places of the command line.

All three walk the words before the cursor in the same way: a word that leads on moves to the
place behind it, an option that takes a value swallows the next word, and what is offered is
what that place knows. Must not know what the commands are (completion.py reads them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from shlex import quote

from glmcode.completion import Node, Option

NAMES = "glmcode completion --names"


def script(shell: str, nodes: Sequence[Node]) -> str:
    """The whole script for "bash", "zsh" or "fish"."""
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](nodes)
    return f"# completion of glmcode for {shell}, made by: glmcode completion {shell}\n{made}"


def _place(node: Node) -> str:
    return " ".join(node.words)


def _leads(nodes: Sequence[Node]) -> list[str]:
    """The pairs "place/word" that lead to another place."""
    return [f"{' '.join(node.words[:-1])}/{node.words[-1]}" for node in nodes if node.words]


def _swallows(nodes: Sequence[Node]) -> list[str]:
    return [
        f"{_place(node)}/{name}"
        for node in nodes
        for one in node.options
        if one.takes
        for name in one.names
    ]


def _pattern(words: Iterable[str]) -> str:
    return "|".join(quote(word) for word in words)


def _walk(nodes: Sequence[Node], begin: str, words: str, step: str) -> list[str]:
    """Bash's and zsh's way to the place of the cursor; `at` and `open` (an option that waits
    for its value) are what they end with."""
    return [
        '  local at="" open="" word i',
        f"  for ((i = {begin}; i < {step}; i++)); do",
        f'    word="${{{words}[i]}}"',
        '    if [[ -n "$open" ]]; then open=""; continue; fi',
        '    case "$at/$word" in',
        f'      {_pattern(_swallows(nodes))}) open="$word" ;;',
        f'      {_pattern(_leads(nodes))}) if [[ -n "$at" || $i -eq {begin} ]]; then '
        'at="${at:+$at }$word"; fi ;;',
        "    esac",
        "  done",
    ]


def _values(nodes: Sequence[Node], put: Callable[[Sequence[str], str], str]) -> list[str]:
    """Bash's and zsh's branches for the options that wait for their value."""
    return [
        f"    {_pattern(f'{_place(node)}/{name}' for name in one.names)}) "
        f"{put(one.values, one.asks)} ;;"
        for node in nodes
        for one in node.options
        if one.takes
    ]


def _offers(node: Node) -> list[tuple[str, str]]:
    """What can stand at a place: words and options, with what they are."""
    commands = list(node.commands.items())
    values = [(value, "") for value in node.word_values]
    options = [(name, one.about) for one in node.options for name in one.names]
    return [*commands, *values, *options]


# bash


def _bash(nodes: Sequence[Node]) -> str:
    lines = ["_glmcode() {", '  local cur="${COMP_WORDS[COMP_CWORD]}"']
    lines += _walk(nodes, "1", "COMP_WORDS", "COMP_CWORD")
    lines += ["  COMPREPLY=()", '  case "$at/$open" in']
    lines += _values(nodes, _bash_values)
    lines += ["    */) ;;", "  esac", '  if [[ -n "$open" ]]; then return; fi', '  case "$at" in']
    for node in nodes:
        offered = " ".join(word for word, _ in _offers(node))
        also = _bash_values((), node.words_ask, more=True)
        reply = f'COMPREPLY+=($(compgen -W {quote(offered)} -- "$cur"))'
        lines.append(f"    {quote(_place(node))}) {also}; {reply} ;;")
    lines += ["  esac", "}", "complete -o bashdefault -o default -F _glmcode glmcode", ""]
    return "\n".join(lines)


def _bash_values(values: Sequence[str], asks: str, *, more: bool = False) -> str:
    put = "COMPREPLY+=" if more else "COMPREPLY="
    if values:
        return f'{put}($(compgen -W {quote(" ".join(values))} -- "$cur"))'
    match asks:
        case "files":
            return f'compopt -o filenames; {put}($(compgen -f -- "$cur"))'
        case "folders":
            return f'compopt -o filenames; {put}($(compgen -d -- "$cur"))'
        case "":
            return ":"
        case names:
            return f'{put}($(compgen -W "$({NAMES} {names} 2>/dev/null)" -- "$cur"))'


# zsh


def _zsh(nodes: Sequence[Node]) -> str:
    lines = ["#compdef glmcode", "_glmcode() {"]
    lines += _walk(nodes, "2", "words", "CURRENT")
    lines += ["  local -a offered", '  case "$at/$open" in']
    lines += _values(nodes, _zsh_values)
    lines += ["  esac", '  if [[ -n "$open" ]]; then return; fi', '  case "$at" in']
    for node in nodes:
        offered = " ".join(quote(_zsh_item(*one)) for one in _offers(node))
        also = _zsh_values((), node.words_ask)
        lines.append(
            f"    {quote(_place(node))}) {also}; offered=({offered}); "
            "_describe 'glmcode' offered ;;"
        )
    lines += ["  esac", "}", "compdef _glmcode glmcode", ""]
    return "\n".join(lines)


def _zsh_item(word: str, about: str) -> str:
    name = word.replace(":", "\\:")
    return f"{name}:{about}" if about else name


def _zsh_values(values: Sequence[str], asks: str) -> str:
    if values:
        return f"compadd -- {' '.join(quote(value) for value in values)}"
    match asks:
        case "files":
            return "_files"
        case "folders":
            return "_files -/"
        case "":
            return ":"
        case names:
            return f'compadd -- ${{(f)"$({NAMES} {names} 2>/dev/null)"}}'


# fish


def _fish(nodes: Sequence[Node]) -> str:
    lines = [
        "function __glmcode_at",
        "  set -l at ''",
        "  set -l swallow 0",
        "  set -l number 0",
        "  for word in (commandline -opc)[2..-1]",
        "    set number (math $number + 1)",
        "    if test $swallow -eq 1; set swallow 0; continue; end",
        '    switch "$at/$word"',
        f"      case {' '.join(map(quote, _swallows(nodes)))}",
        "        set swallow 1",
        f"      case {' '.join(map(quote, _leads(nodes)))}",
        '        if test -n "$at" -o $number -eq 1',
        '          set at (string trim "$at $word")',
        "        end",
        "    end",
        "  end",
        '  test "$at" = "$argv[1]"',
        "end",
        "complete -c glmcode -f",
    ]
    for node in nodes:
        head = f"complete -c glmcode -n {quote('__glmcode_at ' + quote(_place(node)))}"
        for word, about in [*node.commands.items(), *((v, "") for v in node.word_values)]:
            lines.append(f"{head} -a {_fish_text(word)} -d {_fish_text(about)}")
        if node.words_ask:
            lines.append(f"{head} {_fish_values((), node.words_ask)}")
        lines += [f"{head} {_fish_option(one)}" for one in node.options]
    return "\n".join([*lines, ""])


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_option(one: Option) -> str:
    words = []
    for name in one.names:
        words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
    alone = "-r" if one.asks == "files" else "-x"
    values = f"{alone} {_fish_values(one.values, one.asks)}" if one.takes else ""
    return " ".join(filter(None, [*words, values, f"-d {_fish_text(one.about)}"]))


def _fish_values(values: Sequence[str], asks: str) -> str:
    if values:
        return f"-a {_fish_text(' '.join(values))}"
    match asks:
        case "files":
            return "-F"
        case "folders":
            return "-a '(__fish_complete_directories)'"
        case "":
            return ""
        case names:
            return f"-a '({NAMES} {names} 2>/dev/null)'"
