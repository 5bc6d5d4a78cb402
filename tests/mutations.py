"""Named lines that matter, each flipped in a copy of the project: a test must turn red.

`python tests/mutations.py` runs all of them (`make soak`); tests/test_mutations.py runs a few.
A mutation that survives means that a promise of the design is not held by any test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("glmcode", "tests", "tools", "prompts", "pyproject.toml", "README.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One flipped line. `old` must stand exactly once in `file`; `tests` must fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        name="a revert leaves what changed after it was shown",
        file="glmcode/checkpoints/undo.py",
        old='chosen = [replace(item, why="") for item',
        new="chosen = [replace(item) for item",
        tests=("tests/checkpoints/test_revert.py",),
    ),
    Mutation(
        name="a revert over a later change is refused",
        file="glmcode/checkpoints/undo.py",
        old="if named.against and not force:",
        new="if False:",
        tests=("tests/checkpoints/test_revert.py",),
    ),
    Mutation(
        name="what was accepted is shown again when it changes",
        file="glmcode/checkpoints/reviewed.py",
        old="if known.get(item.path) == _state(item.now)}",
        new="if item.path in known}",
        tests=("tests/checkpoints/test_revert.py",),
    ),
    Mutation(
        name="what a person edited is judged again",
        file="glmcode/agent_edited.py",
        old="if why := denial(fresh):",
        new="if False and (why := denial(fresh)):",
        tests=("tests/test_agent_edited.py",),
    ),
    Mutation(
        name="an edit that will not do leaves the proposal as it was",
        file="glmcode/agent_edited.py",
        old="            context.edited[call.id] = before\n",
        new="            pass\n",
        tests=("tests/test_agent_edited.py",),
    ),
    Mutation(
        name="the model is told what a person edited",
        file="glmcode/agent_approval.py",
        old="action = told(self._context, action, opened.action)",
        new="action = opened.action",
        tests=("tests/test_agent_edited.py",),
    ),
    Mutation(
        name="a change that was not told whole must be read",
        file="glmcode/agent_edited.py",
        old="    if not whole:\n        for path",
        new="    if False:\n        for path",
        tests=("tests/test_agent_edited.py",),
    ),
    Mutation(
        name="an emptied proposal is a no",
        file="glmcode/repl/asking.py",
        old='choice, advice = "no", ""',
        new='choice, advice = "yes", ""',
        tests=("tests/repl/test_editing_proposals.py",),
    ),
    Mutation(
        name="a diff's text is cleaned",
        file="glmcode/repl/diff_paint.py",
        old="text = _expanded(visible(raw), column)",
        new="text = _expanded(raw, column)",
        tests=("tests/repl/test_no_escape.py",),
    ),
    Mutation(
        name="compare and swap",
        file="glmcode/base/replace.py",
        old="lost = not _is_known(temporary, path, old.digest)",
        new="lost = False",
        tests=("tests/base/test_replace.py", "tests/tools"),
    ),
    Mutation(
        name="a change since the last read is refused",
        file="glmcode/tools/change.py",
        old="if seen is not None and seen != now.digest:",
        new="if False:",
        tests=("tests/tools/test_edit.py",),
    ),
    Mutation(
        name="a file that was never read is refused",
        file="glmcode/tools/change.py",
        old="if seen is None and not (empty_is_known and not now.data):",
        new="if False:",
        tests=("tests/tools/test_edit.py", "tests/tools/test_write.py"),
    ),
    Mutation(
        name="the follow-set rule of values",
        file="glmcode/glm/parser.py",
        old='(place == "value_end" and (place, name) not in _EXPECTED)',
        new="False",
        tests=("tests/glm/test_parser.py",),
    ),
    Mutation(
        name="left-over closing tags make a call ambiguous",
        file="glmcode/glm/parser.py",
        old="        if name in _CLOSING and self._calls.real:",
        new="        if False:",
        tests=("tests/glm/test_parser.py",),
    ),
    Mutation(
        name="the stop token is not kept",
        file="glmcode/engine/token_reply.py",
        old="            if self._stop is not None:\n                break",
        new="            if False:\n                break",
        tests=("tests/engine/test_client_tokens.py",),
    ),
    Mutation(
        name="max_tokens leaves the prompt its room",
        file="glmcode/engine/tokens.py",
        old="return min(max(room - self.reserve, room // 2, 1), self.endpoint.step_cap)",
        new="return self.endpoint.step_cap",
        tests=("tests/engine/test_client_tokens.py",),
    ),
    Mutation(
        name="a command has a session of its own",
        file="glmcode/base/keeper.py",
        old="                setsid=True,",
        new="                setsid=False,",
        tests=("tests/base/test_process.py", "tests/tools/test_bash.py"),
    ),
    Mutation(
        name="one supervisor holds the lock",
        file="glmcode/engine/becoming.py",
        old="fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        new="pass",
        tests=("tests/engine/test_supervisor.py",),
    ),
    Mutation(
        name="who clears up after an engine holds its lock",
        file="glmcode/engine/halt.py",
        old="fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        new="pass",
        tests=("tests/engine/test_lifecycle.py",),
    ),
    Mutation(
        name="two who stop an engine wait for the same end",
        file="glmcode/engine/runner.py",
        old="        if self._stopping is None:\n            self._stopping =",
        new="        if True:\n            self._stopping =",
        tests=("tests/engine/test_lifecycle.py",),
    ),
    Mutation(
        name="what vLLM only remarks explains nothing",
        file="glmcode/engine/explain.py",
        old="if _REMARK.match(line) or ",
        new="if ",
        tests=("tests/engine/test_explain.py",),
    ),
    Mutation(
        name="a command reaches no network",
        file="glmcode/sandbox/bubblewrap.py",
        old="    if not policy.network:",
        new="    if False:",
        tests=("tests/sandbox/test_hostile.py",),
    ),
    Mutation(
        name="what git obeys is read-only for a command",
        file="glmcode/sandbox/bubblewrap.py",
        old='    kinds |= dict.fromkeys(laid.protected, "show")',
        new="    pass",
        tests=("tests/sandbox/test_hostile.py",),
    ),
    Mutation(
        name="a worktree lies where git puts it",
        file="glmcode/sandbox/gitfolders.py",
        old="or not inside:",
        new="or False:",
        tests=("tests/sandbox/test_commands.py",),
    ),
    Mutation(
        name="what looks like a secret is withheld from commands",
        file="glmcode/agent_setup.py",
        old="if name not in secret}",
        new="if name}",
        tests=("tests/sandbox/test_options.py",),
    ),
    Mutation(
        name="a note on the terminal holds no escape",
        file="glmcode/notes.py",
        old="        line = visible(text)",
        new="        line = text",
        tests=("tests/repl/test_no_escape.py",),
    ),
    Mutation(
        name="control words in a chat request are broken",
        file="glmcode/engine/literals.py",
        old="    return word[0] + MARK + word[1:]",
        new="    return word",
        tests=("tests/engine/test_literals.py",),
    ),
    Mutation(
        name="what nobody answers is denied",
        file="glmcode/agent_approval.py",
        old="        if approval is None:",
        new="        if False:",
        tests=("tests/test_agent.py",),
    ),
    Mutation(
        name="deny wins over bypassPermissions",
        file="glmcode/permissions/decide.py",
        old="    if rule := _named(policy.deny, way, tool, spots, files):",
        new="    if rule := None:",
        tests=("tests/permissions/test_rules.py",),
    ),
    Mutation(
        name="every part of a command is judged",
        file="glmcode/permissions/verdicts.py",
        old="            if why:",
        new="            if False:",
        tests=("tests/permissions/test_corpus.py",),
    ),
    Mutation(
        name="calls after a rejected one do not run",
        file="glmcode/core/calls.py",
        old="        elif after_rejected:",
        new="        elif False:",
        tests=("tests/core/test_loop.py",),
    ),
    Mutation(
        name="open calls are closed whatever happens",
        file="glmcode/core/loop.py",
        old="    finally:\n        close_open_calls(transcript, loop, closing)",
        new="    finally:\n        pass",
        tests=("tests/core/test_loop.py",),
    ),
    Mutation(
        name="a message is recorded before it counts",
        file="glmcode/core/transcript.py",
        old="        self._record(message)\n        self._accept(message)",
        new="        self._accept(message)\n        self._record(message)",
        tests=("tests/core", "tests/test_agent.py"),
    ),
    Mutation(
        name="a torn journal line is cut off",
        file="glmcode/sessions/journal.py",
        old="            self._cut_back()",
        new="            pass",
        tests=("tests/test_sessions.py",),
    ),
    Mutation(
        name="a torn line is cut off before a session goes on",
        file="glmcode/sessions/stored.py",
        old="    journal.cut(conversation.end)",
        new="    pass",
        tests=("tests/sessions/test_stored.py",),
    ),
    Mutation(
        name="a session has one writer",
        file="glmcode/sessions/journal.py",
        old="            _lock(descriptor)\n",
        new="            pass\n",
        tests=("tests/sessions/test_stored.py",),
    ),
    Mutation(
        name="token ids of another tokenizer are not sent",
        file="glmcode/sessions/reading.py",
        old="                message = replace(message, token_ids=None)",
        new="                message = replace(message)",
        tests=("tests/sessions/test_reading.py",),
    ),
    Mutation(
        name="of a torn step no file counts as known",
        file="glmcode/sessions/reading.py",
        old="        if not self._torn:\n",
        new="        if True:\n",
        tests=("tests/sessions/test_reading.py",),
    ),
    Mutation(
        name="a file that changed since the session was left must be read again",
        file="glmcode/agent_resume.py",
        old="                if self._seen.get(path) != digest\n",
        new="                if path not in self._seen\n",
        tests=("tests/test_resume.py",),
    ),
    Mutation(
        name="the intent stands before the change",
        file="glmcode/agent_approval.py",
        old="            self.journal.intent(call.id, call.name, action.subject, action.changes)",
        new="            pass",
        tests=("tests/test_agent.py",),
    ),
    Mutation(
        name="the key is stripped from commands",
        file="glmcode/agent_setup.py",
        old="    own = (options.engine.api_key_env,) if options.engine.api_key_env else ()",
        new="    own = ()",
        tests=("tests/test_agent.py",),
    ),
    Mutation(
        name="result is the last line, on a signal too",
        file="glmcode/headless.py",
        old="            self._json(result_line(self._result(end)))",
        new="            pass",
        tests=("tests/test_headless.py",),
    ),
    Mutation(
        name="three rejected steps end the turn",
        file="glmcode/core/loop.py",
        old="    if counts.rejected >= MAX_REJECTED_STEPS:",
        new="    if False:",
        tests=("tests/core/test_loop.py",),
    ),
    Mutation(
        name="a text that looks like control is text",
        file="glmcode/glm/tokenizer.py",
        old="    with _TokenizersFault():\n        bpe = Tokenizer.from_str(text)",
        new="    with _TokenizersFault():\n        bpe = Tokenizer.from_str(text)\n        "
        "bpe.add_special_tokens(['<|user|>'])\n        return bpe",
        tests=("tests/glm/test_tokenizer.py",),
    ),
    Mutation(
        name="an import outside the repository is refused",
        file="glmcode/context/instructions.py",
        old="if inside is not None and not real.is_relative_to(inside):",
        new="if False:",
        tests=("tests/context/test_instructions.py",),
    ),
    Mutation(
        name="a mention asks the rules",
        file="glmcode/agent_mentions.py",
        old='_permit(decide(policy, "Read", action))',
        new="pass",
        tests=("tests/test_agent_context.py",),
    ),
    Mutation(
        name="room for a folder's instructions is put aside",
        file="glmcode/agent_guide.py",
        old="        self._aside += characters",
        new="        self._aside += 0",
        tests=("tests/test_agent_context.py",),
    ),
    Mutation(
        name="a folder that git ignores has no say",
        file="glmcode/context/folders.py",
        old="if _ignored(folder, base):",
        new="if False:",
        tests=("tests/test_agent_context.py",),
    ),
    Mutation(
        name="git does not touch the index",
        file="glmcode/context/environment.py",
        old='    "GIT_OPTIONAL_LOCKS": "0",',
        new="",
        tests=("tests/context/test_environment.py",),
    ),
    Mutation(
        name="git runs nothing that the repository names",
        file="glmcode/context/environment.py",
        old='    "core.fsmonitor": "false",',
        new="",
        tests=("tests/context/test_environment.py",),
    ),
    Mutation(
        name="results of one message share what is left",
        file="glmcode/context/budget.py",
        old="share = (self.limit - used) // max(1, results)",
        new="share = self.limit - used",
        tests=("tests/context/test_budget.py", "tests/context/test_compaction.py"),
    ),
    Mutation(
        name="a result is cut by its tokens",
        file="glmcode/agent_compaction.py",
        old="if longest + LONGEST_FRAME <= limit or self._tokens(message) <= limit:",
        new="if len(message.text) <= limit * 2:",
        tests=("tests/context/test_compaction.py",),
    ),
    Mutation(
        name="a failed summary changes nothing the first time",
        file="glmcode/agent_compaction.py",
        old="            if not full:\n                return False",
        new="            if not full:\n                pass",
        tests=("tests/context/test_compaction.py",),
    ),
    Mutation(
        name="a segment that no longer shows a file makes it unread",
        file="glmcode/agent_compaction.py",
        old="            del self._context.seen[path]",
        new="            pass",
        tests=("tests/context/test_compaction.py",),
    ),
    Mutation(
        name="the compaction's line is written before it counts",
        file="glmcode/core/transcript.py",
        old="        record()\n        self._messages = fresh._messages",
        new="        self._messages = fresh._messages\n        record()",
        tests=("tests/context/test_compaction.py",),
    ),
    Mutation(
        name="a tail begins at a step's boundary",
        file="glmcode/context/compaction.py",
        old="        if not isinstance(messages[place], ToolMessage):\n            start = place",
        new="        start = place",
        tests=("tests/context/test_segment.py",),
    ),
    Mutation(
        name="a fork keeps the reasoning of its prompt",
        file="glmcode/glm/prompt.py",
        old='other._reasoning = "keep"\n        other._spans = []',
        new="other._reasoning = self._reasoning\n        other._spans = list(self._spans)",
        tests=("tests/glm/test_prompt.py",),
    ),
    Mutation(
        name="an undo leaves what somebody changed since",
        file="glmcode/checkpoints/plan.py",
        old="    elif not same(now, chain.last):",
        new="    elif False:",
        tests=("tests/test_agent_undo.py",),
    ),
    Mutation(
        name="the whole workspace is looked at around a command",
        file="glmcode/agent_undo.py",
        old="            command=action.effect is Effect.EXECUTE,",
        new="            command=False,",
        tests=("tests/test_agent_undo.py",),
    ),
    Mutation(
        name="an undo does not write through a link above a file",
        file="glmcode/checkpoints/plan.py",
        old="        if not stat.S_ISDIR(mode):\n            return above",
        new="        if False:\n            return above",
        tests=("tests/checkpoints/test_edges.py",),
    ),
    Mutation(
        name="a file is not restored through another name of it",
        file="glmcode/checkpoints/apply.py",
        old=" or place.lstat().st_nlink > 1:",
        new=":",
        tests=("tests/checkpoints/test_edges.py",),
    ),
    Mutation(
        name="what an ignore file shows was not made by the command",
        file="glmcode/checkpoints/recorder.py",
        old="for p, change in found.items() if not within(p, blind)}",
        new="for p, change in found.items()}",
        tests=("tests/checkpoints/test_edges.py",),
    ),
    Mutation(
        name="a step of a killed process is marked",
        file="glmcode/checkpoints/log.py",
        old="            torn = torn or bool(delta)",
        new="            pass",
        tests=("tests/test_agent_undo.py",),
    ),
    Mutation(
        name="a rewind cuts the prompt",
        file="glmcode/engine/tokens.py",
        old="        elif self.cuts < len(transcript.cuts):",
        new="        elif False:",
        tests=("tests/test_agent_rewind.py",),
    ),
    Mutation(
        name="nothing runs a second time without a yes",
        file="glmcode/agent_outside.py",
        old="if said is not None:",
        new="if False:",
        tests=("tests/sandbox/test_outside.py",),
    ),
    Mutation(
        name="what changed while a person thought is judged before the second run",
        file="glmcode/agent_outside.py",
        old="            if not self._may_ask(action):",
        new="            if False:",
        tests=("tests/sandbox/test_outside.py",),
    ),
    Mutation(
        name="the second run begins where the first began",
        file="glmcode/agent_outside.py",
        old="self._context.cwd = folder",
        new="pass",
        tests=("tests/sandbox/test_outside.py",),
    ),
    Mutation(
        name="the sandbox comes back with the mode",
        file="glmcode/agent_setup.py",
        old="sandbox_for(options.commands.sandbox, mode)",
        new="sandbox_for(options.commands.sandbox, 'bypassPermissions')",
        tests=("tests/sandbox/test_options.py",),
    ),
    Mutation(
        name="what was typed before the question of trust does not answer it",
        file="glmcode/trusting.py",
        old="termios.tcflush(0, termios.TCIFLUSH)",
        new="pass",
        tests=("tests/repl/test_trusting.py",),
    ),
    Mutation(
        name="stopping at the question of trust is no answer",
        file="glmcode/trusting.py",
        old="""    if not typed:
        raise Unanswered""",
        new="",
        tests=("tests/repl/test_trusting.py",),
    ),
    Mutation(
        name="the offer is made once",
        file="glmcode/agent_unasked.py",
        old="keep(CHOICES, AUTO_ALLOW, wanted)",
        new="pass",
        tests=("tests/repl/test_unasked.py",),
    ),
    Mutation(
        name="the helper is believed only for what it was told",
        file="glmcode/checkpoints/watch.py",
        old="            if number < len(self._groups) and self._groups[number].told:",
        new="            if number < len(self._groups):",
        tests=("tests/checkpoints/test_watch.py",),
    ),
    Mutation(
        name="the time of the last change is compared to its fraction",
        file="glmcode/checkpoints/asking.py",
        old="            self._fractions[here] == memoryview(share.fractions)[first:end]",
        new="            True",
        tests=("tests/checkpoints/test_watch.py",),
    ),
    Mutation(
        name="answers of an earlier look don't count",
        file="glmcode/checkpoints/helper.py",
        old="            if look == self._look:",
        new="            if True:",
        tests=("tests/checkpoints/test_watch.py",),
    ),
    Mutation(
        name="a look that was not whole does not serve the next step",
        file="glmcode/checkpoints/recorder.py",
        old="            if not (self.scanner.late or self.scanner.many):",
        new="            if True:",
        tests=("tests/checkpoints/test_due.py",),
    ),
    Mutation(
        name="an entry that was rolled back is made again",
        file="glmcode/checkpoints/recorder.py",
        old="                self._unit, self._settled = unit, settled",
        new="                pass",
        tests=("tests/checkpoints/test_due.py",),
    ),
    Mutation(
        name="the step before an edit that is refused is closed",
        file="glmcode/agent_undo.py",
        old="            if open_step := look.step or look.due:",
        new="            if open_step := look.step:",
        tests=("tests/test_agent_due.py",),
    ),
    Mutation(
        name="no change without the look that failed",
        file="glmcode/base/replace.py",
        old="                self._failure = error",
        new="                pass",
        tests=("tests/base/test_replace_meanwhile.py",),
    ),
    Mutation(
        name="cancelled work is asked to stop",
        file="glmcode/base/settled.py",
        old="        stop.set()",
        new="        pass",
        tests=("tests/base/test_settled.py",),
    ),
    Mutation(
        name="warming asks for one token",
        file="glmcode/engine/warming.py",
        old="protocol.body(self._prompt.ids_json(), 1)",
        new="protocol.body(self._prompt.ids_json(), 9)",
        tests=(
            "tests/engine/test_warming.py::test_what_is_warmed_is_what_the_next_prompt_begins_with_and_one_token_is_asked_for",
        ),
    ),
    Mutation(
        name="warming waits for nobody",
        file="glmcode/engine/warming.py",
        old="        if isinstance(event, Queued) and event.ahead:",
        new="        if False:",
        tests=("tests/engine/test_warming.py::test_warming_gives_way_to_whoever_comes",),
    ),
    Mutation(
        name="of a warming that was broken off nothing is claimed",
        file="glmcode/engine/warming.py",
        old="        known = self._prompt.computed\n",
        new="        known = self._count\n",
        tests=(
            "tests/engine/test_warming.py::test_warming_that_is_given_up_frees_the_engine_within_50_ms_and_claims_nothing",
        ),
    ),
    Mutation(
        name="a warming is a run of its own",
        file="glmcode/engine/warming.py",
        old="headers = {TOKENS: str(self._count), **beside(protocol.endpoint.headers)}",
        new="headers = {TOKENS: str(self._count), **protocol.endpoint.headers}",
        tests=("tests/engine/test_warming.py::test_warming_gives_way_to_whoever_comes",),
    ),
    Mutation(
        name="the chunk that is being computed is not done",
        file="glmcode/engine/watch.py",
        old="        done = held - self._chunk",
        new="        done = held",
        tests=("tests/engine/test_watch.py::test_the_time_left_comes_from_the_last_chunks",),
    ),
    Mutation(
        name="whose tokens the cache holds is known of one request only",
        file="glmcode/engine/watch.py",
        old="        if gauges.running == 1 and",
        new="        if gauges.running and",
        tests=(
            "tests/engine/test_watch.py::test_of_several_requests_at_once_nobody_knows_whose_tokens_the_cache_holds",
        ),
    ),
    Mutation(
        name="what moves does not stand still",
        file="glmcode/engine/watch.py",
        old="if not self._moved or (signs and signs != self._signs):",
        new="if not self._moved:",
        tests=(
            "tests/engine/test_watch.py::test_as_long_as_anything_moves_nothing_stands_still_however_long_it_takes",
        ),
    ),
    Mutation(
        name="a person decides about a stall",
        file="glmcode/engine/watch.py",
        old="        if self._rules.gives_up:",
        new="        if True:",
        tests=("tests/engine/test_watch.py::test_a_person_is_told_of_a_stall_and_decides",),
    ),
    Mutation(
        name="an engine is looked at only in a silence",
        file="glmcode/engine/watch.py",
        old="now - self._clock.last < QUIET_S:",
        new="False:",
        tests=("tests/engine/test_watch.py::test_an_answer_that_comes_soon_is_not_looked_after",),
    ),
    Mutation(
        name="beyond this machine a key is asked for",
        file="glmcode/engine/door.py",
        old="        if not key and not is_loopback(host):",
        new="        if False:",
        tests=("tests/engine/test_door.py::test_without_a_key_only_this_machine_is_served",),
    ),
    Mutation(
        name="from afar an engine is used, not stopped",
        file="glmcode/engine/door.py",
        old='        if own and not (head.method == "GET" and head.path in _READABLE):',
        new="        if False:",
        tests=(
            "tests/engine/test_door.py::test_with_a_key_the_engine_is_used_but_not_ruled_from_afar",
        ),
    ),
    Mutation(
        name="no page in a browser is served without a key",
        file="glmcode/engine/door.py",
        old="elif _BROWSER & head.headers.keys() or not",
        new="elif not",
        tests=(
            "tests/engine/test_door.py::test_without_a_key_no_page_in_a_browser_gets_at_the_engine",
        ),
    ),
    Mutation(
        name="who shows no key makes room",
        file="glmcode/engine/door.py",
        old="            self._knocking.pop(0).abort()",
        new="            pass",
        tests=(
            "tests/engine/test_door.py::test_many_who_show_no_key_take_neither_memory_nor_the_place_of_others",
        ),
    ),
    Mutation(
        name="shares of a GPU add up to all of it",
        file="glmcode/engine/claims.py",
        old="if sum_of(gpu) > _ALL]",
        new="if sum_of(gpu) > 2]",
        tests=(
            "tests/engine/test_claims.py::test_a_second_engine_is_refused_at_once_and_told_who_has_the_gpus",
        ),
    ),
    Mutation(
        name="a share lasts as long as the engine",
        file="glmcode/engine/runner.py",
        old="keep = self._place.descriptors",
        new="keep: tuple[int, ...] = ()",
        tests=(
            "tests/engine/test_claims.py::test_an_engine_that_outlives_its_supervisor_holds_its_gpus_until_it_is_gone",
        ),
    ),
    Mutation(
        name="who wakes looks again for its GPUs",
        file="glmcode/engine/runner.py",
        old="self._place.again()",
        new="pass",
        tests=(
            "tests/engine/test_claims.py::test_a_sleeping_engine_lends_its_gpus_and_wakes_only_when_they_are_free",
        ),
    ),
    Mutation(
        name="who sleeps lends its GPUs",
        file="glmcode/engine/runner.py",
        old="self._place.lend()",
        new="pass",
        tests=(
            "tests/engine/test_claims.py::test_a_sleeping_engine_lends_its_gpus_and_wakes_only_when_they_are_free",
        ),
    ),
    Mutation(
        name="a claim given up late leaves that of a later start",
        file="glmcode/engine/claims.py",
        old="if os.path.samestat(os.fstat(self._fd), self._paths.gpus.stat()):",
        new="if True:",
        tests=("tests/engine/test_claims.py",),
    ),
    Mutation(
        name="no sleep without memory for the weights",
        file="glmcode/engine/rest.py",
        old="    if weights + SPARE > available:",
        new="    if False:",
        tests=("tests/engine/test_rest.py::test_the_host_must_have_room_for_the_weights",),
    ),
    Mutation(
        name="an engine without sleep mode says why",
        file="glmcode/engine/rest.py",
        old="    if code == 404:",
        new="    if False:",
        tests=("tests/engine/test_rest.py::test_what_cannot_sleep_says_why_and_goes_on",),
    ),
    Mutation(
        name="an idle engine stays",
        file="glmcode/engine/idle.py",
        old="        return self._minutes > 0 and now",
        new="        return now",
        tests=(
            "tests/engine/test_idle.py::test_an_engine_is_never_stopped_for_being_idle_unless_it_is_set",
        ),
    ),
    Mutation(
        name="a request begins the idle time again",
        file="glmcode/engine/idle.py",
        old="if not idle or served != self._served or self._since is None:",
        new="if not idle or self._since is None:",
        tests=("tests/engine/test_idle.py::test_a_request_or_work_begins_the_time_again",),
    ),
    Mutation(
        name="one with a connection is attached",
        file="glmcode/engine/guests.py",
        old="            if not guest.connections and not _stays",
        new="            if not _stays",
        tests=(
            "tests/test_consent.py::test_a_connection_counts_however_long_it_is_silent_and_many_are_one",
        ),
    ),
    Mutation(
        name="one whose process ended is attached no more",
        file="glmcode/engine/guests.py",
        old="        return _born(guest.pid) == guest.born > 0",
        new="        return True",
        tests=(
            "tests/test_consent.py::test_one_without_a_connection_is_attached_as_long_as_its_process_lives",
        ),
    ),
    Mutation(
        name="gauges of several engines are added up",
        file="glmcode/engine/gauges.py",
        old="sums[name] = sums.get(name, 0.0) + float(number)",
        new="sums[name] = float(number)",
        tests=(
            "tests/engine/test_door.py::test_gauges_are_read_from_what_vllm_says_and_what_is_absent_is_not_told",
        ),
    ),
    Mutation(
        name="a hit rate is at most all",
        file="glmcode/engine/gauges.py",
        old="return min(1.0, self.hits / self.queries)",
        new="return self.hits / self.queries",
        tests=(
            "tests/engine/test_door.py::test_gauges_are_read_from_what_vllm_says_and_what_is_absent_is_not_told",
        ),
    ),
    Mutation(
        name="what was fetched is compared with the hub's hash",
        file="glmcode/engine/pull.py",
        old="            elif not self._is_right(path, file):",
        new="            elif False:",
        tests=("tests/engine/test_pull.py::test_wrong_bytes_are_fetched_once_more_and_never_kept",),
    ),
    Mutation(
        name="a file of a person is not removed by a pull",
        file="glmcode/engine/pull.py",
        old="            if content.is_relative_to(self.listing.folder.resolve()):",
        new="            if True:",
        tests=(
            "tests/engine/test_pull.py::test_weights_that_a_person_linked_in_are_never_removed",
        ),
    ),
    Mutation(
        name="a name at the hub can't leave the folder",
        file="glmcode/engine/pull.py",
        old='any(part in ("", ".", "..") for part in parts):',
        new="False:",
        tests=("tests/engine/test_pull.py::test_a_list_that_names_a_file_of_mine_touches_nothing",),
    ),
    Mutation(
        name="the disk is looked at before a pull",
        file="glmcode/engine/pull.py",
        old="    if needed and free < needed + ROOM:",
        new="    if False:",
        tests=(
            "tests/engine/test_pull.py::test_a_disk_that_is_too_small_is_said_before_anything_is_fetched",
        ),
    ),
    Mutation(
        name="KV heads are at least one on a GPU",
        file="glmcode/engine/fit_weights.py",
        old="    return max(1, shape.kv_heads // tensor)",
        new="    return max(2, shape.kv_heads // tensor)",
        tests=(
            "tests/engine/test_fit.py::test_fp8_kv_of_the_card_takes_23552_bytes_a_token_and_gpu",
        ),
    ),
    Mutation(
        name="a layer that can't be cut is counted whole in the bad case",
        file="glmcode/engine/fit.py",
        old="    if faults:\n",
        new="    if False:\n",
        tests=(
            "tests/engine/test_fit.py::test_a_shared_expert_that_cannot_be_cut_must_be_unquantised",
        ),
    ),
    Mutation(
        name="the planned window is whole blocks",
        file="glmcode/engine/fit.py",
        old="    return blocks * BLOCK_TOKENS",
        new="    return blocks * BLOCK_TOKENS + 1",
        tests=(
            "tests/engine/test_fit.py::test_the_window_of_the_card_is_a_range_around_what_is_expected",
        ),
    ),
    Mutation(
        name="scales of a KV dtype are counted",
        file="glmcode/engine/fit_kv.py",
        old="            return 2 * (head_dim + _SCALE)",
        new="            return 2 * head_dim",
        tests=(
            "tests/engine/test_fit.py::test_fp8_kv_of_the_card_takes_23552_bytes_a_token_and_gpu",
        ),
    ),
    Mutation(
        name="stages share the layers",
        file="glmcode/engine/fit_kv.py",
        old="    layers = math.ceil(shape.layers / parallel.pipeline)",
        new="    layers = shape.layers",
        tests=("tests/engine/test_fit.py::test_pipeline_stages_share_the_layers",),
    ),
    Mutation(
        name="a guess never says a hundred percent",
        file="glmcode/engine/pace.py",
        old="return min(99.0, 100 * reached / prompt)",
        new="return 100 * reached / prompt",
        tests=(
            "tests/engine/test_pace.py::test_percent_grows_with_time_and_ends_below_a_hundred_and_seconds_never_below_zero",
        ),
    ),
    Mutation(
        name="a guess that was wrong is dropped",
        file="glmcode/engine/pace.py",
        old=" or elapsed > LATE * whole + LATE_S:",
        new=":",
        tests=(
            "tests/engine/test_pace.py::test_a_prompt_that_takes_clearly_longer_than_foretold_gets_no_more_figures",
        ),
    ),
    Mutation(
        name="what is told of a prompt never falls",
        file="glmcode/engine/clock.py",
        old="        self._most = max(self._most, guess[0])",
        new="        self._most = guess[0]",
        tests=("tests/engine/test_pace.py::test_what_is_shown_of_one_prompt_never_falls",),
    ),
    Mutation(
        name="who waited is told that it is its turn",
        file="glmcode/engine/desk.py",
        old="                    if said is not None:\n",
        new="                    if False:\n",
        tests=(
            "tests/engine/test_desk.py::test_one_that_waited_is_told_when_it_is_its_turn_before_anything_of_its_answer",
        ),
    ),
    Mutation(
        name="a watch ends when nobody reads",
        file="glmcode/moving.py",
        old="        return bool(poll.poll(0))",
        new="        return False",
        tests=(
            "tests/test_watching.py::test_a_pipe_that_nobody_reads_any_more_ends_it_although_nothing_happens",
        ),
    ),
    Mutation(
        name="what moves is cut to the terminal",
        file="glmcode/status_commands.py",
        old="cut(one_line(line, 1_000), columns - 1)",
        new="one_line(line, 1_000)",
        tests=(
            "tests/test_watching.py::test_a_watch_on_a_narrow_terminal_draws_in_place_and_never_wraps",
        ),
    ),
    Mutation(
        name="inside a class those who came first go first",
        file="glmcode/engine/queue.py",
        old="            self._came(ticket),\n            self._served(ticket.lane),",
        new="            self._served(ticket.lane),\n            self._came(ticket),",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="an answer is broken off at most twice",
        file="glmcode/engine/queue.py",
        old="            and ticket.breaks < MOST_BREAKS\n",
        new="",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="what was broken off comes back to the head of its class",
        file="glmcode/engine/queue.py",
        old="            ticket.returned = True\n",
        new="            pass\n",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="runs nested in one go first for a bounded time",
        file="glmcode/engine/queue.py",
        old=" and helped < PATIENCE_S",
        new="",
        tests=("tests/engine/test_queue_fairness.py",),
    ),
    Mutation(
        name="nothing is broken off for one that waits all the same",
        file="glmcode/engine/queue.py",
        old=" if self._kept_out(t, now) <= now]",
        new="]",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="age alone pushes nobody's context out",
        file="glmcode/engine/queue.py",
        old="aged = 0 if self._kept_out(ticket, now) > now else int(",
        new="aged = int(",
        tests=(
            "tests/engine/test_queue.py",
            "tests/engine/test_queue_fairness.py",
        ),
    ),
    Mutation(
        name="the end of a turn counts though its answer is not done",
        file="glmcode/engine/queue.py",
        old="if ticket.lane.ours and run.over < ticket.started:",
        new="if ticket.lane.ours:",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="a turn keeps its context in the cache",
        file="glmcode/engine/tenure.py",
        old="if not (self.pool and wish.tokens) or wish.run in self._turns:",
        new="if True:",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="a turn keeps it for a bounded time",
        file="glmcode/engine/tenure.py",
        old="max(TENURE_S, PAYS * took), True",
        new="float('inf'), True",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="what a nested run pushes out is its parent's no less",
        file="glmcode/engine/tenure.py",
        old="            if run not in wish.parents:\n                del",
        new="            if True:\n                del",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="a run says when its turn is over",
        file="glmcode/agent.py",
        old="        self.client.turn_over()\n",
        new="        pass\n",
        tests=("tests/engine/test_turns.py",),
    ),
    Mutation(
        name="who waits no longer than it said",
        file="glmcode/engine/desk.py",
        old="        if waited < limit:\n",
        new="        if True:\n",
        tests=("tests/engine/test_desk.py",),
    ),
    Mutation(
        name="who left while it waited has no place",
        file="glmcode/engine/desk.py",
        old="                if leaving.done() and leaving.result():\n",
        new="                if False:\n",
        tests=("tests/engine/test_desk.py",),
    ),
    Mutation(
        name="one that does not read loses the engine to those who wait",
        file="glmcode/engine/handover.py",
        old="                if self._pressed():\n",
        new="                if False:\n",
        tests=("tests/engine/test_desk.py",),
    ),
    Mutation(
        name="what nobody saw of an answer is asked for again",
        file="glmcode/engine/handover.py",
        old="    if flow.unseen or flow.has_rest:\n",
        new="    if False:\n",
        tests=("tests/engine/test_desk.py",),
    ),
    Mutation(
        name="a rest is no longer than what was left",
        file="glmcode/engine/streamed.py",
        old='sampling["max_tokens"] = self._limit - self._before',
        new='sampling["max_tokens"] = self._limit',
        tests=("tests/engine/test_desk.py",),
    ),
    Mutation(
        name="work ahead of need waits for nobody",
        file="glmcode/engine/lane.py",
        old='        WAIT: "0",\n',
        new='        WAIT: "",\n',
        tests=("tests/engine/test_warming.py",),
    ),
    Mutation(
        name="a run inside a run knows them all",
        file="glmcode/engine/lane.py",
        old="[*self.parents, self.run][-DEEPEST:]",
        new="[self.run]",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="no supervisor begins that was asked for before a stop",
        file="glmcode/engine/becoming.py",
        old="    if stopped_since(paths, asked):\n",
        new="    if False:\n",
        tests=("tests/engine/test_stopped_while_waiting.py",),
    ),
    Mutation(
        name="who waited does not start it again after a stop",
        file="glmcode/engine/attach.py",
        old='    command += ["--asked", f"{asked:.6f}"]\n',
        new="",
        tests=("tests/engine/test_stopped_while_waiting.py",),
    ),
    Mutation(
        name="over a restart all go on waiting",
        file="glmcode/engine_commands.py",
        old="asyncio.run(halt(engine_paths(name), again=True))",
        new="asyncio.run(halt(engine_paths(name)))",
        tests=("tests/engine/test_stopped_while_waiting.py",),
    ),
    Mutation(
        name="a chunk's size is digits",
        file="glmcode/engine/wire.py",
        old="if not _CHUNK.fullmatch(text):",
        new='if text.startswith(b"x"):',
        tests=("tests/engine/test_wire.py",),
    ),
    Mutation(
        name="two lengths are refused",
        file="glmcode/engine/wire.py",
        old="if name in _FRAMING and headers.get(name, value) != value:",
        new="if False:",
        tests=("tests/engine/test_wire.py",),
    ),
    Mutation(
        name="an answer that ended as it was broken off is whole",
        file="glmcode/engine/exchange.py",
        old="sink.broken_off = not sink.complete",
        new="sink.broken_off = True",
        tests=("tests/engine/test_client_broken_off.py",),
    ),
    Mutation(
        name="least tokens of a rest count what was made",
        file="glmcode/engine/tokens.py",
        old='min(max(0, sampling["min_tokens"] - made), max_tokens)',
        new='min(sampling["min_tokens"], max_tokens)',
        tests=("tests/engine/test_client_broken_off.py",),
    ),
    Mutation(
        name="a stream that was gone on with keeps its name",
        file="glmcode/engine/streamed.py",
        old='value["request_id"] = self._name',
        new="pass",
        tests=("tests/engine/test_streamed.py",),
    ),
    Mutation(
        name="what begins anew with the rest is not broken off",
        file="glmcode/engine/streamed.py",
        old="return all(not said or name in known for name, said in value.items())",
        new="return True",
        tests=("tests/engine/test_streamed.py",),
    ),
    Mutation(
        name="fenced code may repeat",
        file="glmcode/engine/token_reply.py",
        old="patient = self._parser.in_call or self._verbatim.open",
        new="patient = self._parser.in_call",
        tests=("tests/engine/test_repetition.py",),
    ),
    Mutation(
        name="requests that wait have a size together",
        file="glmcode/engine/intake.py",
        old="if self.held > MOST:",
        new="if False:",
        tests=("tests/engine/test_hostile_clients.py",),
    ),
    Mutation(
        name="time in the queue is time waited",
        file="glmcode/engine/desk.py",
        old="mark = self._begin(head, ticket.queued)",
        new="mark = self._begin(head, ticket.started - ticket.entered)",
        tests=("tests/engine/test_broken_off.py",),
    ),
    Mutation(
        name="a door asks for its key",
        file="glmcode/engine/door_key.py",
        old="return hmac.compare_digest(digest, self._digest)",
        new="return True",
        tests=("tests/engine/test_door_again.py",),
    ),
    Mutation(
        name="a key that is known slowly is compared",
        file="glmcode/engine/door_key.py",
        old="if hmac.compare_digest(found, slow):",
        new="if True:",
        tests=("tests/engine/test_door_again.py",),
    ),
    Mutation(
        name="a door opens again",
        file="glmcode/engine/supervisor.py",
        old="await self._door.reopen()",
        new="pass",
        tests=("tests/engine/test_door_again.py",),
    ),
    Mutation(
        name="a stopped engine's door is forgotten",
        file="glmcode/engine/halt.py",
        old="forget(paths.door)",
        new="pass",
        tests=("tests/engine/test_door_again.py",),
    ),
    Mutation(
        name="a name that a page pointed here is not served",
        file="glmcode/engine/door.py",
        old="elif _BROWSER & head.headers.keys() or not _named_as_a_machine(head):",
        new="elif _BROWSER & head.headers.keys():",
        tests=("tests/engine/test_door_again.py",),
    ),
    Mutation(
        name="what a cut answer had is kept",
        file="glmcode/engine/exchange.py",
        old="held = sink.partial() or held",
        new="held = sink.partial()",
        tests=("tests/engine/test_client_faults.py", "tests/engine/test_relay.py"),
    ),
    Mutation(
        name="data parallel ranks share the experts",
        file="glmcode/engine/fit_weights.py",
        old="ranks, wide = parallel.expert_ranks, shape.expert_mlp",
        new="ranks, wide = parallel.tensor, shape.expert_mlp",
        tests=("tests/engine/test_fit.py",),
    ),
    Mutation(
        name="a part of a file is gone on with",
        file="glmcode/engine/pull_file.py",
        old="resume_size=had,",
        new="resume_size=file.truncate(0),",
        tests=(
            "tests/engine/test_pull.py::test_a_file_of_which_a_part_came_goes_on_there_in_the_next_run",
        ),
    ),
    Mutation(
        name="clean follows no link",
        file="glmcode/growth.py",
        old="    if root.is_symlink():\n        return []",
        new="    pass",
        tests=("tests/test_clean_command.py::test_what_lies_behind_a_link_is_not_ours",),
    ),
    Mutation(
        name="waiting before the engine is not measured as reading",
        file="glmcode/engine/bench.py",
        old="queue_s = queued + ",
        new="queue_s = ",
        tests=("tests/engine/test_bench.py",),
    ),
    Mutation(
        name="experts under another name are refused",
        file="glmcode/engine/unplanned.py",
        old="_EXPERTS_LIKE.fullmatch(key)",
        new="key == 0",
        tests=("tests/engine/test_shape.py",),
    ),
    Mutation(
        name="an interpreter without vLLM does not count",
        file="glmcode/engine/managed.py",
        old="    if found is None:",
        new="    if False:",
        tests=(
            "tests/engine/test_managed.py::test_an_interpreter_into_which_nothing_came_does_not_count",
        ),
    ),
    Mutation(
        name="a sandboxed command is no more urgent than its run",
        file="glmcode/engine/lane.py",
        old="kind=max(given.kind, parent.kind, key=CLASSES.index),",
        new="kind=given.kind,",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="a run goes before what its own commands ask",
        file="glmcode/engine/queue.py",
        old="own is not None and any(one.lane.run == own for one in self.waiting),",
        new="False,",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="an answer of a command gives way to its run",
        file="glmcode/engine/queue.py",
        old="ticket.forced = True",
        new="ticket.forced = False",
        tests=("tests/engine/test_queue.py",),
    ),
    Mutation(
        name="only text passes a hatch",
        file="glmcode/engine/plain.py",
        old='for message in _list(value.get("messages", [])):',
        new="for message in ():",
        tests=("tests/engine/test_hatch.py",),
    ),
    Mutation(
        name="foreign servers hear nothing of a run",
        file="glmcode/engine/introduce.py",
        old="if self.known else {}",
        new="if True else {}",
        tests=("tests/engine/test_introduce.py",),
    ),
    Mutation(
        name="the engine's socket is covered under Landlock",
        file="glmcode/sandbox/launcher.py",
        old='libc.mount(b"/dev/null", os.fsencode(str(place)), None, MS_BIND, None)',
        new="pass",
        tests=("tests/sandbox/test_hostile.py",),
    ),
    Mutation(
        name="a nested run keeps to the rules of the outer one",
        file="glmcode/agent_nested.py",
        old="deny=(*options.deny, *deny),",
        new="deny=options.deny,",
        tests=("tests/test_nested.py",),
    ),
    Mutation(
        name="a tool of the caller is asked about",
        file="glmcode/permissions/decide.py",
        old='return replace(asked(policy, f"{tool} is a tool of the caller"), firm=True)',
        new='return Judgement(decision="allow", why="")',
        tests=("tests/test_api.py",),
    ),
    Mutation(
        name="a task of a batch is not done twice",
        file="glmcode/batch_running.py",
        old="if task.id in done:",
        new="if False:",
        tests=("tests/test_batch.py",),
    ),
    Mutation(
        name="the first task of a batch is answered alone",
        file="glmcode/batch_running.py",
        old="            await self._answered.wait()",
        new="            pass",
        tests=("tests/test_batch_jobs.py",),
    ),
    Mutation(
        name="a patch does not go by what git is set to",
        file="glmcode/batch_worktree.py",
        old='"--src-prefix=a/", "--dst-prefix=b/", "--unified=3"',
        new='"--unified=3"',
        tests=("tests/test_batch_patches.py",),
    ),
    Mutation(
        name="a patch is made against the first index, not what the task left",
        file="glmcode/batch_worktree.py",
        old='            "GIT_DIR": str(self._records[place]),\n',
        new="",
        tests=("tests/test_batch_patches.py",),
    ),
    Mutation(
        name="what a killed batch left of a worktree goes when it is resumed",
        file="glmcode/batch_worktree.py",
        old="                if ours.fullmatch(record.name) and not _lives(record):",
        new="                if False:",
        tests=("tests/test_batch_kills.py",),
    ),
    Mutation(
        name="nothing of the folder that a batch works on is imported",
        file="glmcode/batch_process.py",
        old='*(sys.executable, "-P", "-c"',
        new='*(sys.executable, "-c"',
        tests=("tests/test_batch_jobs.py",),
    ),
    Mutation(
        name="a person who has just typed is not notified",
        file="glmcode/repl/attention.py",
        old="gone = now - self.live.keyed >= self.ui.notify_after",
        new="gone = True",
        tests=("tests/repl/test_attention.py",),
    ),
    Mutation(
        name="a key says that somebody is there",
        file="glmcode/repl/terminal.py",
        old="self._live.keyed = self.now()",
        new="pass",
        tests=("tests/repl/test_keyed.py",),
    ),
    Mutation(
        name="a repository names no program that notifies",
        file="glmcode/base/config.py",
        old='if table == "ui" and key == "notify_command":',
        new="if False:",
        tests=("tests/base/test_config.py",),
    ),
    Mutation(
        name="the title from before comes back",
        file="glmcode/repl/terminal.py",
        old="self._output.write_raw(GIVE_TITLE_BACK)",
        new="pass",
        tests=("tests/repl/test_attention.py",),
    ),
    Mutation(
        name="the path of a link is written as %XX",
        file="glmcode/repl/links.py",
        old="{quote(name)}",
        new="{whole}",
        tests=("tests/repl/test_links.py",),
    ),
    Mutation(
        name="a todo list that says the same prints nothing",
        file="glmcode/repl/todo.py",
        old="if list(todos) == list(before):",
        new="if False:",
        tests=("tests/repl/test_todo.py",),
    ),
    Mutation(
        name="no colours where none are wanted",
        file="glmcode/repl/theme.py",
        old='if environment.get("NO_COLOR") or term in',
        new="if term in",
        tests=("tests/repl/test_theme.py",),
    ),
    Mutation(
        name="a fault of glmcode's is no verdict of its hook",
        file="glmcode/githooks/install.py",
        old="case $code in 0) exit 0 ;; {block}) exit 1 ;; esac",
        new="exit $code",
        tests=("tests/test_githook_promises.py",),
    ),
    Mutation(
        name="a branch that was rewritten is compared with what the remotes have",
        file="glmcode/githooks/running.py",
        old='if old.strip("0") and _is_before(root, old, new) else',
        new='if old.strip("0") else',
        tests=("tests/test_githook_promises.py",),
    ),
    Mutation(
        name="a judgement is kept for its model and its prompt",
        file="glmcode/review/judging.py",
        old='asked = [VERSION, prompt_text("review.md"), QUESTION, SCHEMA, model]',
        new="asked = [VERSION, QUESTION, SCHEMA]",
        tests=("tests/test_githook_promises.py",),
    ),
    Mutation(
        name="no finding is pinned to a guessed line",
        file="glmcode/review/findings.py",
        old="return number if number in shown else None",
        new="return min(shown, key=lambda at: abs(at - number), default=None)",
        tests=("tests/review/test_findings.py",),
    ),
    Mutation(
        name="what a repository names for reading diffs is not run",
        file="glmcode/review/source.py",
        old='"--no-ext-diff", "--no-textconv", ',
        new="",
        tests=(
            "tests/test_githook_states.py::test_in_any_state_hooks_change_nothing_and_end_in_time[external_diff]",
        ),
    ),
    Mutation(
        name="a hook that somebody wrote into is not removed",
        file="glmcode/githooks/install.py",
        old='hexdigest() in text else "changed"',
        new='hexdigest() in text else "ours"',
        tests=("tests/test_githooks.py",),
    ),
    Mutation(
        name="a budget stops thinking where it is used up",
        file="glmcode/engine/token_reply.py",
        old="        return self._left < 0",
        new="        return False",
        tests=("tests/test_thinking.py",),
    ),
    Mutation(
        name="thinking off is marked behind what was said",
        file="glmcode/core/loop.py",
        old="UserMessage(text=prompt, thinking=transcript.thinking)",
        new="UserMessage(text=prompt)",
        tests=("tests/test_thinking.py",),
    ),
    Mutation(
        name="an answer goes on behind the think block that the prompt closed",
        file="glmcode/engine/tokens.py",
        old="            base = sink.ids[said:]",
        new="            base = sink.ids",
        tests=("tests/test_thinking.py",),
    ),
    Mutation(
        name="a report holds no secret",
        file="glmcode/repl/feedback.py",
        old="        if len(value) >= LEAST:",
        new="        if False:",
        tests=("tests/repl/test_offers.py",),
    ),
    Mutation(
        name="another engine is gone on with only after a yes",
        file="glmcode/repl/switching.py",
        old="    if not cost.free and not await _wants(host, word, cost):",
        new="    if False:",
        tests=("tests/repl/test_engines.py",),
    ),
    Mutation(
        name="an engine that is not there leaves what was typed",
        file="glmcode/repl/agents.py",
        old="            gone = first and nowhere and machine_profile() is None",
        new="            gone = True",
        tests=("tests/repl/test_engines.py",),
    ),
)


def survives(mutation: Mutation) -> bool:
    """Whether the tests still pass with the line flipped. Raises ValueError for a stale entry."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, copy / name, ignore=ignore)
            else:
                shutil.copy(source, copy / name)
        (copy / "models").symlink_to(ROOT / "models")
        path = copy / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise ValueError(
                f"{mutation.name}: {mutation.old!r} stands {text.count(mutation.old)}x"
            )
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-m", "not engine", *mutation.tests]
        done = subprocess.run(
            command,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        return done.returncode == 0


def main() -> int:
    """Run all; returns the number that survived."""
    survived = []
    for mutation in MUTATIONS:
        alive = survives(mutation)
        print(f"{'SURVIVED' if alive else 'killed  '}  {mutation.name}", flush=True)
        survived += [mutation.name] * alive
    print(f"{len(MUTATIONS) - len(survived)} killed, {len(survived)} survived")
    return len(survived)


if __name__ == "__main__":
    sys.exit(main())
