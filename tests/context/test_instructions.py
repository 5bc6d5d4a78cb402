from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glmcode.base.data import prompt_text
from glmcode.context.instructions import CAP, Instructions, instructions

Write = Callable[..., Path]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = (tmp_path / "repo").resolve()
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def body(found: Instructions) -> str:
    head = prompt_text("instructions.md") + "\n\n"
    assert found.text.startswith(head)
    return found.text.removeprefix(head)


def test_files_count_from_the_user_over_the_root_down_to_the_working_directory(
    repo: Path, tmp_path: Path
) -> None:
    put(tmp_path / "config" / "AGENTS.md", "user\n")
    put(tmp_path / "AGENTS.md", "above the repository\n")
    put(repo / "AGENTS.md", "root\n")
    put(repo / "a" / "CLAUDE.md", "a\n")
    put(repo / "a" / "b" / "AGENTS.md", "b\n")
    put(repo / "a" / "b" / "CLAUDE.md", "not this\n")
    put(repo / "a" / "b" / "c" / "AGENTS.md", "below\n")
    found = instructions(repo / "a" / "b", tmp_path / "config")
    assert body(found) == (
        '<instructions from="the user\'s AGENTS.md">\nuser\n</instructions>\n\n'
        '<instructions from="AGENTS.md">\nroot\n</instructions>\n\n'
        '<instructions from="a/CLAUDE.md">\na\n</instructions>\n\n'
        '<instructions from="a/b/AGENTS.md">\nb\n</instructions>'
    )
    assert found.notices == ()


def test_without_a_file_there_is_no_text_and_an_empty_one_is_none(
    repo: Path, tmp_path: Path
) -> None:
    assert instructions(repo, tmp_path / "config") == Instructions()
    put(repo / "AGENTS.md", "\n \n")
    assert instructions(repo).text == ""


def test_outside_a_repository_only_the_working_directory_counts(tmp_path: Path) -> None:
    put(tmp_path / "AGENTS.md", "above\n")
    put(tmp_path / "w" / "AGENTS.md", "here\n")
    assert body(instructions((tmp_path / "w").resolve())) == (
        '<instructions from="AGENTS.md">\nhere\n</instructions>'
    )


def test_in_a_folder_that_is_not_trusted_instructions_count_but_import_nothing(
    repo: Path, tmp_path: Path
) -> None:
    put(tmp_path / "config" / "AGENTS.md", "user, see @mine.md\n")
    put(tmp_path / "config" / "mine.md", "my own\n")
    put(repo / "AGENTS.md", "root, see @other.md\n")
    put(repo / "other.md", "the other\n")
    found = instructions(repo, tmp_path / "config", trusted=False)
    assert "root, see" in body(found) and "my own" in body(found)
    assert "the other" not in body(found)
    (notice,) = found.notices
    assert notice == (
        "AGENTS.md: @other.md was not imported: it needs a trusted folder (glmcode --trust)"
    )


def test_an_import_follows_as_a_section_of_its_own_relative_to_its_importer(repo: Path) -> None:
    put(repo / "AGENTS.md", "Style: @docs/style.md.\nSee (@README), **@docs/style.md**.\n")
    put(repo / "README", "readme\n")
    put(repo / "docs" / "style.md", "use tabs, see @more.md and @../README\n")
    put(repo / "docs" / "more.md", "more\n")
    found = instructions(repo)
    assert body(found) == (
        '<instructions from="AGENTS.md">\n'
        "Style: @docs/style.md.\nSee (@README), **@docs/style.md**.\n</instructions>\n\n"
        '<instructions from="docs/style.md" imported-by="AGENTS.md">\n'
        "use tabs, see @more.md and @../README\n</instructions>\n\n"
        '<instructions from="docs/more.md" imported-by="docs/style.md">\nmore\n</instructions>\n\n'
        '<instructions from="README" imported-by="docs/style.md">\nreadme\n</instructions>'
    )
    assert found.notices == ()


def test_what_is_no_file_is_left_alone_and_what_looks_like_one_is_named(repo: Path) -> None:
    put(
        repo / "AGENTS.md",
        "Ask @maria or me@example.org, use @types/node and @property, `@code.md`,\n"
        "the alias @/components/Button.tsx of @example.com.\n"
        "```\n@fence.md\n```\n@gone.md and @./also/gone\n",
    )
    put(repo / "code.md", "code")
    put(repo / "fence.md", "fence")
    found = instructions(repo)
    assert body(found).endswith(
        "\n[@gone.md was not imported: it does not exist]\n"
        "[@./also/gone was not imported: it does not exist]\n</instructions>"
    )
    assert len(found.notices) == 2 and "AGENTS.md: @gone.md" in found.notices[0]
    assert "from=" in found.text and found.text.count("from=") == 1


def test_a_circle_is_said_and_a_file_imported_twice_stands_once(repo: Path) -> None:
    put(repo / "AGENTS.md", "@a.md @b.md\n")
    put(repo / "a.md", "A @b.md\n")
    put(repo / "b.md", "B @a.md @AGENTS.md\n")
    found = instructions(repo)
    assert found.text.count("<instructions from=") == 3
    assert found.text.count("is imported in a circle]") == 2
    assert "b.md: @a.md was not imported: it is imported in a circle" in found.notices


def test_a_long_chain_of_imports_ends(repo: Path) -> None:
    put(repo / "AGENTS.md", "@f0.md\n")
    for number in range(10):
        put(repo / f"f{number}.md", f"text {number} @f{number + 1}.md\n")
    found = instructions(repo)
    assert "text 4" in found.text and "text 5" not in found.text
    assert any("more than 5 files" in notice for notice in found.notices)


def test_whatever_stands_where_an_import_should_be_is_named_and_never_waited_for(
    repo: Path, tmp_path: Path
) -> None:
    put(repo / "AGENTS.md", "@fifo.md @pic.png @folder.md @huge.txt @../out.md @link.md @loop.md\n")
    os.mkfifo(repo / "fifo.md")
    put(repo / "pic.png", b"\x89PNG\r\n\x1a\n\0\0")
    (repo / "folder.md").mkdir()
    put(repo / "huge.txt", b"x" * (2 << 20))
    put(tmp_path / "out.md", "secret")
    (repo / "link.md").symlink_to(tmp_path / "out.md")
    (repo / "loop.md").symlink_to("loop.md")
    found = instructions(repo)
    assert "secret" not in found.text and len(found.notices) == 7
    for said in (
        "@fifo.md was not imported: it is a FIFO (named pipe)]",
        "@pic.png was not imported: it is a binary file (PNG image)]",
        "@folder.md was not imported: it is a directory]",
        "@huge.txt was not imported: it is too large",
        "@../out.md was not imported: it lies outside the repository]",
        "@link.md was not imported: it lies outside the repository]",
        "@loop.md was not imported: it cannot be reached",
    ):
        assert f"\n[{said}" in found.text


@pytest.mark.parametrize("kind", ["fifo", "folder", "outside", "dangling", "binary"])
def test_an_instruction_file_that_cannot_be_read_is_named(
    repo: Path, tmp_path: Path, kind: str
) -> None:
    path = repo / "AGENTS.md"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "outside":
            path.symlink_to(put(tmp_path / "other.md", "secret"))
        case "dangling":
            path.symlink_to("nothing")
        case "binary":
            put(path, b"\x00\x01" * 100)
    found = instructions(repo)
    assert "[left out: it " in found.text and "secret" not in found.text
    assert len(found.notices) == 1 and found.notices[0].startswith("AGENTS.md was left out: it ")


def test_a_link_inside_the_repository_is_followed_and_its_file_stands_once(repo: Path) -> None:
    put(repo / "docs" / "all.md", "everything, see @../AGENTS.md and @all.md\n")
    (repo / "AGENTS.md").symlink_to("docs/all.md")
    found = instructions(repo)
    assert found.text.count("everything") == 1
    put(repo / "a" / "AGENTS.md", "@../docs/all.md\n")
    found = instructions(repo / "a")
    assert found.text.count("everything") == 1


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffgrüße\r\n".encode(),
        "grüße\n".encode("utf-16"),
        "grüße\n".encode("latin-1"),
        "\n\ngrüße\n\n".encode(),
    ],
)
def test_every_encoding_gives_the_same_text(repo: Path, data: bytes) -> None:
    put(repo / "AGENTS.md", data)
    assert body(instructions(repo)) == '<instructions from="AGENTS.md">\ngrüße\n</instructions>'


def test_what_is_beyond_the_cap_is_cut_at_a_line_and_said(repo: Path) -> None:
    put(repo / "AGENTS.md", "é" * 10 + "\n" + "rule\n" * 8_000)
    put(repo / "a" / "AGENTS.md", "deeper\n" * 100)
    found = instructions(repo / "a")
    text = body(found)
    inside = text[text.index("\n") + 1 : text.index("\n[cut after ")]
    assert CAP - 10 < len(inside.encode()) <= CAP and inside.endswith("\nrule")
    assert "Read AGENTS.md for the rest]" in text
    assert "left out, because all instructions may hold 32,768 bytes: a/AGENTS.md" in text
    assert len(text.encode()) < CAP + 1_000 and len(found.notices) == 2


def test_a_file_that_the_rules_deny_is_not_imported(repo: Path) -> None:
    put(repo / "AGENTS.md", "@secret/key.txt\n")
    put(repo / "secret" / "key.txt", "s3cr3t")
    denied = "the rule Read(secret/**) denies it"
    found = instructions(repo, refused=lambda path: denied if path.name == "key.txt" else "")
    assert "s3cr3t" not in found.text and denied in found.text


def test_the_user_may_import_from_anywhere(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "house"))
    put(tmp_path / "house" / "x.md", "from home\n")
    put(tmp_path / "config" / "AGENTS.md", "@~/x.md\n")
    put(repo / "AGENTS.md", "@~/x.md\n")
    found = instructions(repo, tmp_path / "config")
    assert "from home" in found.text
    assert '<instructions from="~/x.md" imported-by="the user\'s AGENTS.md">' in found.text


def test_many_references_to_nothing_are_counted_not_listed(repo: Path) -> None:
    put(repo / "AGENTS.md", "".join(f"@gone{number}.md\n" for number in range(100)))
    found = instructions(repo)
    assert found.text.count("was not imported") == 8 and "[and 92 more]" in found.text
    assert len(found.notices) == 9 and found.notices[-1].endswith("92 more were not imported")


def test_an_odd_name_of_a_folder_stays_on_one_line(repo: Path) -> None:
    folder = repo / 'a"\nb'
    put(folder / "AGENTS.md", "x\n")
    text = body(instructions(folder))
    assert text == '<instructions from="a\\"\\nb/AGENTS.md">\nx\n</instructions>'


def test_two_processes_with_other_hash_seeds_and_copies_agree_on_every_byte(
    repo: Path, tmp_path: Path
) -> None:
    put(repo / "AGENTS.md", "root @b.md @a.md @gone.md\n")
    for name in ("a", "b"):
        put(repo / f"{name}.md", f"{name} @AGENTS.md\n")
    copy = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", str(repo), str(copy)], check=True)
    code = (
        "import sys; from pathlib import Path; from glmcode.context.instructions import *; "
        "sys.stdout.write(instructions(Path(sys.argv[1]).resolve()).text)"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": seed},
            cwd=cwd,
            capture_output=True,
            check=True,
        ).stdout
        for folder, seed, cwd in ((repo, "1", repo), (copy, "2", tmp_path))
    }
    assert len(texts) == 1 and b"circle" in next(iter(texts))
