import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.demo_task import (
    COMPARISONS,
    FOLDS,
    HELD_FAULTS,
    NOUNS,
    OPERATORS,
    DemoTask,
    function_lines,
    make_task,
)

SEEDS = range(30)


def lay_out(task: DemoTask, folder: Path) -> None:
    for name, text in task.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run_tests(task: DemoTask, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", *task.test_command[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_one_test_fails_and_the_repair_makes_all_pass(seed: int, tmp_path: Path) -> None:
    task = make_task(seed)
    lay_out(task, tmp_path)
    before = run_tests(task, tmp_path)
    assert before.returncode == 1
    assert "FAILED (failures=1)" in before.stderr
    assert before.stderr.count("FAIL: ") == 1
    (tmp_path / task.fixed_path).write_text(task.fixed_text)
    after = run_tests(task, tmp_path)
    assert after.returncode == 0
    assert after.stderr.rstrip().endswith("OK")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_repair_changes_one_line_that_stands_once_in_its_file(seed: int) -> None:
    task = make_task(seed)
    broken = task.files[task.fixed_path]
    pairs = zip(broken.split("\n"), task.fixed_text.split("\n"), strict=True)
    changed = [(old, new) for old, new in pairs if old != new]
    assert len(changed) == 1
    assert broken.count(changed[0][0]) == 1


def test_a_seed_always_gives_the_same_bytes() -> None:
    assert make_task(7) == make_task(7)


def test_there_are_many_different_tasks() -> None:
    tasks = [make_task(seed) for seed in range(300)]
    assert len({task.fixed_text for task in tasks}) == 300
    assert len({task.fixed_path for task in tasks}) > 100


def test_a_nonce_stands_in_every_name_and_in_the_files(tmp_path: Path) -> None:
    task = make_task(3, nonce="k3f9")
    assert task.fixed_path.endswith("_k3f9.py")
    defined = [line for line in task.fixed_text.split("\n") if line.startswith("def ")]
    assert defined
    assert all("_k3f9(" in line for line in defined)
    lay_out(task, tmp_path)
    assert run_tests(task, tmp_path).returncode == 1


def test_a_nonce_changes_names_but_not_the_fault() -> None:
    plain, mixed = make_task(11), make_task(11, nonce="q7")
    assert mixed.fixed_text.replace("_q7", "") == plain.fixed_text


def test_the_prompt_names_the_command() -> None:
    task = make_task(1)
    assert f"`{' '.join(task.test_command)}`" in task.prompt


def test_the_summary_names_function_and_file() -> None:
    task = make_task(5)
    assert task.fixed_path in task.summary
    assert task.summary.split(" ")[0] in task.fixed_text


def test_a_negative_and_a_huge_seed_are_tasks_too() -> None:
    assert make_task(-1).fixed_text != make_task(10**18).fixed_text


def test_every_right_choice_has_faults_on_both_sides_of_the_line() -> None:
    for table in (OPERATORS, COMPARISONS, FOLDS):
        for right in table:
            wrong = {w for w in table if w != right}
            held = {w for w in wrong if (right, w) in HELD_FAULTS}
            assert held
            assert wrong - held


def test_names_are_words_and_not_keywords() -> None:
    for seed in range(50):
        task = make_task(seed)
        compile(task.fixed_text, task.fixed_path, "exec")
    assert all(noun.isalpha() and noun.islower() for noun in NOUNS)


def test_a_function_may_be_typed_and_go_through_a_variable() -> None:
    from random import Random

    from glmcode.demo_task import draw_fault

    fault = draw_fault(Random(1), held=True)
    lines = function_lines("weave", fault, broken=True, typed=True, named=True)
    assert " -> " in lines[0]
    assert lines[-2:] == [f"    result = {fault.wrong}", "    return result"]
