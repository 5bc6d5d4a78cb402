from __future__ import annotations

from pathlib import Path

import pytest

from glmcode.permissions import kept_in_home
from glmcode.sandbox.gitfolders import MOST_NESTED, git_folders
from tests.sandbox.kit import WORKING, Place, git, repository, tell

EVIL = "[core]\\n\\tfsmonitor = planted\\n"


@pytest.fixture(params=WORKING)
def mechanism(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def at_home(tmp_path: Path) -> Place:
    """The workspace is the home folder, with glmcode's own folders in it."""
    place = Place(tmp_path / "place")
    place.workspace = place.home
    return place


def nested(place: Place) -> list[Path]:
    """Submodules with a slash in the name, and one in another; returns their git folders."""
    innermost, inner = repository(place.outside / "x"), repository(place.outside / "y")
    git(inner, "submodule", "add", "-q", str(innermost), "below")
    git(inner, "commit", "-qam", "sub")
    outer = repository(place.workspace)
    git(outer, "submodule", "add", "-q", str(innermost), "third/party/deep")
    git(outer, "submodule", "add", "-q", str(inner), "one")
    git(outer, "submodule", "update", "-q", "--init", "--recursive")
    git(outer, "commit", "-qam", "subs")
    modules = outer / ".git" / "modules"
    return [modules / "third/party/deep", modules / "one", modules / "one/modules/below"]


def test_what_git_obeys_in_submodules_stays_however_deep_they_lie(
    tmp_path: Path, mechanism: str
) -> None:
    place = Place(tmp_path / "place")
    modules = nested(place)
    before = [(module / "config").read_bytes() for module in modules]
    plant = "; ".join(
        f"printf '{EVIL}' >> {m}/config; echo x > {m}/hooks/post-commit; echo ../x > {m}/commondir"
        for m in modules
    )
    said = tell(place, mechanism, plant)
    assert [(module / "config").read_bytes() for module in modules] == before, said
    for module in modules:
        assert not (module / "hooks" / "post-commit").exists()
        assert not (module / "commondir").exists()


def test_folders_above_what_git_obeys_cannot_be_exchanged(tmp_path: Path, mechanism: str) -> None:
    place = Place(tmp_path / "place")
    modules = nested(place)
    before = [(module / "config").read_bytes() for module in modules]
    swap = "; ".join(
        f"mv {m} {m}.x && cp -r {m}.x {m} && printf '{EVIL}' >> {m}/config" for m in modules
    )
    said = tell(place, mechanism, f"{swap}; mv .git/modules .git/m; cp -r .git/m .git/modules")
    assert [(module / "config").read_bytes() for module in modules] == before, said


def test_more_submodules_than_are_looked_at_are_kept_as_a_whole(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    modules = tmp_path / ".git" / "modules"
    for number in range(MOST_NESTED + 1):
        (modules / str(number)).mkdir(parents=True)
        (modules / str(number) / "HEAD").touch()
    found = git_folders(tmp_path)
    assert found is not None and modules in found.guarded
    (modules / "0" / "HEAD").unlink()
    found = git_folders(tmp_path)
    assert found is not None and modules not in found.guarded
    assert modules / "64" / "hooks" in found.guarded


@pytest.mark.parametrize("hides", [name for name in WORKING if name != "landlock"])
def test_what_a_rule_forbids_to_read_is_not_found_under_another_name(
    tmp_path: Path, hides: str
) -> None:
    place = Place(tmp_path / "place")
    (place.workspace / "a" / "b").mkdir(parents=True)
    (place.workspace / "a" / "b" / "key").write_text("secret\n")
    told = tell(
        place,
        hides,
        "mv a/b a/c; mv a d; ls -R",
        "cat a/c/key d/b/key d/c/key a/b/key",
        unread=("./a/b/key",),
    )
    assert "secret" not in told[1], told


def test_own_folders_stay_hidden_in_a_workspace_that_holds_them(
    at_home: Place, mechanism: str
) -> None:
    look = "find . -name key -exec cat {} +"
    told = tell(at_home, mechanism, look, "mv state other", "mkdir -p state", look)
    assert not any("the key" in text for text in told), told
    assert (at_home.home / "state" / "key").read_text() == "the key\n"


def test_own_folders_above_which_a_folder_can_be_renamed_stay_hidden(
    tmp_path: Path, mechanism: str
) -> None:
    place = Place(tmp_path / "place")
    place.workspace = place.home.parent
    look = "find . -name key -exec cat {} +"
    told = tell(place, mechanism, "mv home moved; ls", look)
    assert not any("the key" in text for text in told), told
    assert (place.home / "state" / "key").read_text() == "the key\n"


def test_settings_cannot_be_planted_where_there_are_none_yet(
    at_home: Place, mechanism: str
) -> None:
    config = at_home.home / ".config" / "glmcode"
    tell(
        at_home,
        mechanism,
        "mkdir -p .config/glmcode; echo x > .config/glmcode/config.toml",
        "mv .config old; mkdir -p .config/glmcode; echo x > .config/glmcode/config.toml",
        hidden=(at_home.home / "state", config),
    )
    assert config.is_dir() and not list(config.iterdir())


def test_start_up_files_and_keys_stay_as_they_are_in_a_home_folder(
    at_home: Place, mechanism: str
) -> None:
    home = at_home.home
    (home / ".bashrc").write_text("mine\n")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").write_text("mine\n")
    (home / ".config").mkdir()
    (home / "files").mkdir()
    tell(
        at_home,
        mechanism,
        "for f in .bashrc .profile .ssh/authorized_keys .ssh/rc; do echo planted >> $f; done;"
        " mkdir -p .config/git .config/systemd/user; echo planted > .config/git/config;"
        " echo planted > .config/systemd/user/x.service; mkdir .gnupg; echo planted > .gnupg/x;"
        " echo fine > files/x",
        kept=kept_in_home(home),
    )
    planted = [path for path in home.rglob("*") if path.is_file() and "planted" in path.read_text()]
    assert planted == []
    assert (home / ".bashrc").read_text() == "mine\n"
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine\n"
    assert (home / "files" / "x").read_text() == "fine\n"


def test_what_came_to_stand_in_a_forbidden_place_outlives_the_session(
    tmp_path: Path, mechanism: str
) -> None:
    place = Place(tmp_path / "place")
    aside = place.home / "state" / "aside"
    for text in ("first", "second"):
        (told,) = tell(
            place,
            mechanism,
            f"mkdir .glmcode; echo {text} > .glmcode/config.toml",
            aside=aside,
        )
        assert f"what stood there is in {aside}" in told
    assert not (place.workspace / ".glmcode").exists()
    kept = sorted(path.read_text() for path in aside.rglob("config.toml"))
    assert kept == ["first\n", "second\n"]
