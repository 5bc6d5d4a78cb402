"""Which key does what, in the words that fingers know from other terminal agents.

Enter sends (or queues), Ctrl-S steers, Up on an empty input takes a waiting message back,
Shift-Enter, Alt-Enter and Ctrl-J break the line, Esc and Ctrl-C stop a turn, a second Esc on an
empty input offers to rewind, Ctrl-C clears the input, Ctrl-D on an empty one leaves, Ctrl-R
searches the history, Ctrl-O shows what is folded or cut (a paste in the input first),
Shift-Tab changes the mode, Ctrl-Z suspends, Ctrl-G opens the editor; in a list of completions Tab
takes, the arrows choose and Esc closes. Editing keys are prompt_toolkit's own. Must not act
itself: every key calls one method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.filters import Condition, is_searching, vi_insert_mode
from prompt_toolkit.key_binding import (
    KeyBindings,
    KeyBindingsBase,
    KeyPressEvent,
    merge_key_bindings,
)
from prompt_toolkit.keys import Keys

from glmcode.exits import Exit
from glmcode.repl.screen import NEXT_MODE, Hands, Live

if TYPE_CHECKING:
    from glmcode.repl.terminal import Terminal


def key_bindings(terminal: Terminal, live: Live, hands: Hands) -> KeyBindingsBase:
    """The bindings of the whole application."""
    return merge_key_bindings(
        [
            _question_keys(terminal, live),
            _sending_keys(terminal, live),
            _session_keys(terminal, live, hands),
            _menu_keys(terminal, live),
            _search_keys(terminal),
        ]
    )


def _sending_keys(terminal: Terminal, live: Live) -> KeyBindings:
    keys = KeyBindings()
    entry = terminal.entry
    empty = Condition(lambda: not entry.buffer.text)
    waiting = Condition(lambda: bool(live.queued or live.steering))

    @keys.add("enter", filter=~is_searching)
    def _send(event: KeyPressEvent) -> None:
        entry.send()

    @keys.add("c-s", filter=~is_searching)
    def _send_other(event: KeyPressEvent) -> None:
        entry.send(other=True)

    @keys.add("up", filter=~is_searching & empty & waiting)
    def _take_back(event: KeyPressEvent) -> None:
        entry.take_back()

    @keys.add("escape", "enter", filter=~is_searching)
    def _newline(event: KeyPressEvent) -> None:
        entry.buffer.insert_text("\n")

    @keys.add("c-j", filter=~is_searching)
    def _line_feed(event: KeyPressEvent) -> None:
        entry.line_feed()

    @keys.add(Keys.BracketedPaste, filter=~is_searching)
    def _paste(event: KeyPressEvent) -> None:
        entry.paste(event.data)

    @keys.add("c-o", filter=~is_searching & Condition(lambda: entry.folded))
    def _unfold(event: KeyPressEvent) -> None:
        entry.unfold()

    return keys


def _session_keys(terminal: Terminal, live: Live, hands: Hands) -> KeyBindings:
    keys = KeyBindings()
    empty = Condition(lambda: not terminal.entry.buffer.text)
    busy = Condition(lambda: live.busy or live.question is not None)
    question = Condition(lambda: live.question is not None)
    typing = vi_insert_mode & ~empty
    """In vi, Esc on a text ends its insertion first."""

    @keys.add("escape", filter=~is_searching & busy & ~typing)
    def _stop(event: KeyPressEvent) -> None:
        terminal.escape()

    @keys.add("escape", filter=~is_searching & ~busy & empty)
    def _escape_calm(event: KeyPressEvent) -> None:
        terminal.escape_calm()

    @keys.add("c-o", filter=~is_searching & ~Condition(lambda: terminal.entry.folded))
    def _show_all(event: KeyPressEvent) -> None:
        hands.show_all()

    @keys.add("c-c", filter=~is_searching)
    def _interrupt(event: KeyPressEvent) -> None:
        terminal.ctrl_c()

    @keys.add("c-d", filter=~is_searching & empty)
    def _leave(event: KeyPressEvent) -> None:
        hands.leave(Exit.DONE)

    @keys.add("s-tab", filter=~is_searching)
    def _mode(event: KeyPressEvent) -> None:
        hands.submit(NEXT_MODE)

    @keys.add("c-g", filter=~is_searching & ~question)
    def _edit(event: KeyPressEvent) -> None:
        terminal.edit()

    @keys.add("c-z")
    def _suspend(event: KeyPressEvent) -> None:
        terminal.suspend()

    return keys


def _menu_keys(terminal: Terminal, live: Live) -> KeyBindings:
    keys = KeyBindings()
    menu = terminal.entry.menu
    offered = Condition(lambda: menu.open and live.question is None) & ~is_searching
    chosen = Condition(lambda: menu.chosen is not None)

    @keys.add("tab", filter=offered)
    def _take(event: KeyPressEvent) -> None:
        menu.take()

    @keys.add("enter", filter=offered & chosen)
    def _take_and_send(event: KeyPressEvent) -> None:
        if menu.take():
            terminal.entry.send()

    @keys.add("down", filter=offered)
    @keys.add("c-n", filter=offered)
    def _next(event: KeyPressEvent) -> None:
        menu.choose(1)

    @keys.add("up", filter=offered)
    @keys.add("c-p", filter=offered)
    def _before(event: KeyPressEvent) -> None:
        menu.choose(-1)

    @keys.add("escape", filter=offered)
    def _close(event: KeyPressEvent) -> None:
        menu.close()

    @keys.add("tab", filter=~offered & ~is_searching)
    def _nothing(event: KeyPressEvent) -> None:
        menu.look()

    return keys


def _search_keys(terminal: Terminal) -> KeyBindings:
    keys = KeyBindings()
    search = terminal.entry.search

    @keys.add("c-c", filter=is_searching)
    @keys.add("c-g", filter=is_searching)
    def _give_up(event: KeyPressEvent) -> None:
        search.give_up()

    @keys.add(Keys.BracketedPaste, filter=is_searching)
    def _paste(event: KeyPressEvent) -> None:
        search.paste(event.data)

    return keys


def _question_keys(terminal: Terminal, live: Live) -> KeyBindings:
    keys = KeyBindings()
    choosing = Condition(lambda: live.question is not None and live.question.choosing)

    @keys.add(Keys.Any, filter=~is_searching & choosing)
    def _answer(event: KeyPressEvent) -> None:
        question = live.question
        key = event.data
        if question is None or not key.isprintable():
            return
        choice = question.press(key, terminal.now(), terminal.entry.buffer.text)
        if choice is None:
            terminal.entry.buffer.insert_text(key)
        else:
            question.choose(choice)
            terminal.refresh()

    return keys
