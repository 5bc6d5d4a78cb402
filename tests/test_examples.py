"""Every example runs: against a scripted server, as a person would start it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.batch_kit import git
from tests.fake_engine import FakeEngine, Reply, Seen
from tests.githooks_kit import BLOCK, PASS, Repository, answer

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
HOOKS = ".pre-commit-hooks.yaml"


class Place:
    """A repository with one commit, and a `glmcode` on the path."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.commit("a.py", "x = 1\n", "x begins")
        programs = folder / "bin"
        programs.mkdir()
        self._program(programs / "glmcode", f'exec "{sys.executable}" -P -m glmcode "$@"')
        self._program(programs / "python", f'exec "{sys.executable}" "$@"')
        self.environment = {
            **os.environ,
            "GLMCODE_HOME": str(folder / "home"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def _program(self, path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def commit(self, name: str, text: str, message: str) -> str:
        if not (self.work / ".git").exists():
            git(self.work, "init", "-q")
        (self.work / name).write_text(text)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-qm", message)
        return git(self.work, "rev-parse", "--short", "HEAD").strip()

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.work,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def python(self, name: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, str(EXAMPLES / name), *words, **more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def server(engine: FakeEngine) -> list[str]:
    return ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]


def no_engine(place: Place) -> list[str]:
    return ["--profile", "tiny", "--set", f"engine.python={place.work}/none"]


def call(name: str, **arguments: Any) -> Reply:
    return Reply(calls=[{"name": name, "arguments": arguments}])


def write(text: str) -> list[Reply]:
    read = call("Read", file_path="a.py")
    return [read, call("Edit", file_path="a.py", old_string="x = 1", new_string=text)]


def test_every_example_has_a_line_in_the_list_and_every_line_its_example() -> None:
    listed = re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text())
    assert all((EXAMPLES / name).exists() for name in listed)
    files = [path for path in EXAMPLES.rglob("*") if path.suffix not in ("", ".pyc")]
    for name in (path.relative_to(EXAMPLES).as_posix() for path in files):
        assert name == "README.md" or any(
            name == one or name.startswith(f"{one}/") for one in listed
        ), name


def test_a_changelog_names_only_commits_of_the_range_and_loses_none(place: Place) -> None:
    first = place.commit("b.py", "", "Reads INI files, too\n\nNot only TOML.")
    second = place.commit("c.py", "", "A crash without HOME")
    third = place.commit("d.py", "", "Tests of reading")
    said = {
        "added": [{"text": "INI files\ncan be read.", "commits": [first]}],
        "changed": [{"text": "It is faster.", "commits": ["1234567"]}],
        "fixed": [{"text": "No crash without HOME.", "commits": [second, "abcdef0"]}],
        **{"removed": [], "security": []},
    }
    replies = [call("Bash", command=f"git show {second}"), Reply(text="ok")]
    with FakeEngine([*replies, Reply(text=json.dumps(said))]) as engine:
        words = ("HEAD~3..HEAD", "--title", "1.3", "--base-url", engine.base_url)
        done = place.python("changelog.py", *words)
        shown = [m["content"] for m in engine.steps[1].json["messages"] if m["role"] == "tool"]
    assert done.returncode == 0, done.stderr
    assert "A crash without HOME" in shown[0]
    assert done.stdout == (
        f"## 1.3\n\n### Added\n\n- INI files can be read. ({first})\n\n### Fixed\n\n"
        f"- No crash without HOME. ({second})\n\n### Not mentioned above\n\n"
        f"- Tests of reading ({third})\n"
    )
    with FakeEngine([]) as engine:
        done = place.python("changelog.py", "no..such", "--base-url", engine.base_url)
    assert done.returncode == 2 and "bad revision" in done.stderr


def test_a_scripted_task_tells_by_its_exit_code_how_it_ended(place: Place) -> None:
    script = str(EXAMPLES / "scripted_task.sh")
    with FakeEngine([*write("x = 2"), Reply(text="Set.")]) as engine:
        done = place.run(script, "Set x to 2", *server(engine))
    assert (done.returncode, done.stdout) == (0, "done in 3 steps: Set.\n"), done.stderr
    assert (place.work / "a.py").read_text() == "x = 2\n"
    with FakeEngine([call("Bash", command="curl localhost"), Reply(text="No.")]) as engine:
        done = place.run(script, "Fetch it", *server(engine))
    assert done.returncode == 3 and "something needed a permission" in done.stdout
    done = place.run(script, "x", *no_engine(place))
    assert done.returncode == 75 and "try again later" in done.stdout


def test_ci_repairs_in_one_session_until_the_check_passes_and_leaves_a_patch(place: Place) -> None:
    script = str(EXAMPLES / "ci" / "fix_until_green.sh")
    (place.work / "check.py").write_text("from a import x\nassert x == 3, f'x is {x}'\n")
    git(place.work, "add", "-A")
    git(place.work, "commit", "-qm", "check")
    new = call("Write", file_path="new.txt", content="new\n")
    again = call("Edit", file_path="a.py", old_string="x = 2", new_string="x = 3")
    replies = [*write("x = 2"), Reply(text="Done."), again, new, Reply(text="Now.")]
    check = ("python", "check.py")
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    with FakeEngine(replies) as engine:
        done = place.run(script, *server(engine), "--", *check, **quiet)
        messages = engine.steps[-1].json["messages"]
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "green after 2 repairs")
    asked = [m["content"] for m in messages if m["role"] == "user"]
    assert "x is 1" in asked[0] and "x is 2" in asked[1]
    patch = (place.work / "fix.patch").read_bytes()
    git(place.work, "reset", "-q", "--hard")
    git(place.work, "clean", "-qfd")
    (place.work / "fix.patch").write_bytes(patch)
    git(place.work, "apply", "fix.patch")
    assert place.run(*check, **quiet).returncode == 0
    assert (place.work / "new.txt").read_text() == "new\n"
    assert place.run(script, "--", *check).stdout == "green after 0 repairs\n"


def test_ci_gives_up_after_its_tries_and_says_when_there_is_no_engine(place: Place) -> None:
    script = str(EXAMPLES / "ci" / "fix_until_green.sh")
    with FakeEngine([Reply(text="Hm.", times=9)]) as engine:
        done = place.run(script, *server(engine), "--", "false", TRIES="2")
        assert len(engine.steps) == 2
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "still red after 2 repairs")
    assert place.run(script, *no_engine(place), "--", "false").returncode == 75
    assert place.run(script).returncode == 2
    assert place.run(script, "--").returncode == 2


def commands(value: Any) -> list[str]:
    """Every line that a CI file runs."""
    found: list[str] = []
    for key, one in value.items() if isinstance(value, dict) else ():
        lines = one if isinstance(one, list) else [one]
        if key in ("run", "script"):
            found += lines
        elif isinstance(one, dict | list):
            found += [line for inner in lines for line in commands(inner)]
    return found


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_a_ci_file_is_yaml_and_runs_a_script_that_is_there_with_settings_that_exist(
    name: str,
) -> None:
    from glmcode.base.config import load_config

    text = (EXAMPLES / "ci" / name).read_text()
    value = yaml.safe_load(text)
    assert text.count("\t") == 0 and "http" not in text
    ours = [line for line in commands(value) if line.startswith("examples/")]
    assert ours
    for line in ours:
        assert os.access(ROOT / line.split()[0], os.X_OK)
    job = value["repair"] if "repair" in value else value["jobs"]["repair"]
    variables = job.get("variables") or job["env"]
    load_config(ROOT, dict(variables), {}, trusted=False)  # raises for what is no setting
    assert variables["PATCH"] in text
    if "jobs" in value:  # YAML 1.1 reads `on` as true
        assert set(value[True]) == {"workflow_run"} and value["permissions"] == {"contents": "read"}
        assert job["runs-on"] == ["self-hosted", "glmcode"]
    else:
        assert set(value["stages"]) == {value["tests"]["stage"], job["stage"]}


def test_the_pre_commit_example_has_the_hooks_that_ship_and_they_judge(tmp_path: Path) -> None:
    (local,) = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text())["repos"]
    shipped = {one["id"]: one for one in yaml.safe_load((ROOT / HOOKS).read_text())}
    assert local["repo"] == "local" and {one["id"] for one in local["hooks"]} == set(shipped)
    for hook in local["hooks"]:
        same = {"name", "entry", "stages", "pass_filenames", "always_run", "require_serial"}
        ours = shipped[hook["id"]]
        assert {k: v for k, v in hook.items() if k in same} == {
            k: v for k, v in ours.items() if k in same
        }
    repo = Repository(tmp_path)
    repo.stage("a.py", "x = 1\n")
    (tmp_path / "home" / "config").mkdir(parents=True)
    entry = local["hooks"][0]["entry"].split()
    for judged, code in ((BLOCK, 1), (PASS, 0)):
        with FakeEngine([answer(judged)]) as engine:
            config = f'[engine]\nbase_url = "{engine.base_url}"\nprotocol = "chat"\nmodel = "glm"\n'
            (tmp_path / "home" / "config" / "config.toml").write_text(config)
            command = [sys.executable, "-P", "-m", *entry]
            done = subprocess.run(command, cwd=repo.path, env=repo.environment, capture_output=True)
            assert done.returncode == code, done.stderr
            assert len(engine.steps) == 1
        repo.stage("a.py", "x = 2\n")


class Solver(FakeEngine):
    """Applies the patch of the instance that the prompt is about, but for one, which it misses."""

    def __init__(self, instances: list[dict[str, Any]]) -> None:
        super().__init__([])
        self.instances = instances
        self.begun: list[str] = []

    def _step(self, seen: Seen) -> Reply:
        messages = seen.json["messages"]
        prompt = next(m["content"] for m in messages if m["role"] == "user")
        one = next(i for i in self.instances if i["problem_statement"] in prompt)
        if messages[-1]["role"] == "tool":
            return Reply(text="Repaired.", delay=0.2)
        self.begun.append(one["instance_id"])
        patch = one["patch"] if "cache" not in one["instance_id"] else "nothing"
        command = f"git apply <<'END' || echo no > notes.txt\n{patch}\nEND"
        return Reply(calls=[{"name": "Bash", "arguments": {"command": command}}])


def test_a_swe_bench_shaped_run_is_killed_goes_on_and_is_evaluated(place: Place) -> None:
    swebench = "swebench/"
    done = place.python(f"{swebench}make_sample.py", "sample")
    assert done.returncode == 0, done.stderr
    file = place.work / "sample" / "instances.jsonl"
    instances = [json.loads(line) for line in file.read_text().splitlines()]
    predict = [sys.executable, str(EXAMPLES / "swebench" / "predict.py"), str(file)]
    with Solver(instances) as engine:
        words = [*predict, "-o", "predictions.jsonl", "-y", *server(engine)]
        ran = subprocess.Popen(
            words, cwd=place.work, env=place.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        results = place.work / "predictions.work" / "tasks.out" / "results"
        end = time.monotonic() + 90
        while len(engine.begun) < 3 or len(list(results.glob("*.json"))) < 2:
            assert ran.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        os.killpg(ran.pid, signal.SIGKILL)
        ran.wait()
        assert not (place.work / "predictions.jsonl").exists()
        before = set(engine.begun[:2])
        begun = len(engine.begun)
        done = place.run(*words)
    assert done.returncode == 0, done.stderr
    assert before.isdisjoint(engine.begun[begun:])
    lines = (place.work / "predictions.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["instance_id"] for one in told] == [one["instance_id"] for one in instances]
    assert {one["model_name_or_path"] for one in told} == {"glm"}
    assert all(set(one) == {"instance_id", "model_name_or_path", "model_patch"} for one in told)
    missed = next(i for i, one in enumerate(instances) if "cache" in one["instance_id"])
    for number, (one, instance) in enumerate(zip(told, instances, strict=True)):
        assert (one["model_patch"] == instance["patch"]) == (number != missed)
    evaluate = f"{swebench}evaluate.py"
    done = place.python(evaluate, str(file), "predictions.jsonl", "--report", "report.json")
    assert done.stdout.splitlines()[-1] == "3 of 4 resolved", done.stderr
    report = json.loads((place.work / "report.json").read_text())
    assert report["counts"] == {"resolved": 3, "unresolved": 1}
    assert place.python(evaluate, str(file), "--gold").stdout.endswith("4 of 4 resolved\n")


def test_what_cannot_be_evaluated_is_told_apart(place: Place) -> None:
    place.python("swebench/make_sample.py", "sample")
    file = place.work / "sample" / "instances.jsonl"
    instances = [json.loads(line) for line in file.read_text().splitlines()]
    instances[1]["base_commit"] = "0" * 40
    file.write_text("".join(json.dumps(one) + "\n" for one in instances))
    patches = ["", "", "no patch\n"]  # none for the fourth
    told = [
        {"instance_id": one["instance_id"], "model_name_or_path": "m", "model_patch": patch}
        for one, patch in zip(instances, patches, strict=False)
    ]
    (place.work / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
    done = place.python("swebench/evaluate.py", str(file), "p.jsonl")
    said = [line.partition(": ")[2] for line in done.stdout.splitlines()[:4]]
    assert done.returncode == 1 and said[0] == "unresolved" and said[1].startswith("error: ")
    assert said[2:] == ["does not apply", "no prediction"]
    shutil.rmtree(place.work / "sample" / "repos")
    assert place.python("swebench/evaluate.py", str(file), "p.jsonl").returncode == 1
    assert place.python("swebench/predict.py", "nowhere.jsonl").returncode == 2
