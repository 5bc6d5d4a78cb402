from __future__ import annotations

from glmcode.context.languages import language_of
from glmcode.context.ranking import ranked
from glmcode.context.tags import FileTags, tags_of


def tags(files: dict[str, str]) -> dict[str, FileTags]:
    made = {}
    for name, text in files.items():
        language = language_of(name.rpartition("/")[2], text.encode())
        assert language is not None
        made[name] = tags_of(text.encode(), language)
    return made


def order(files: dict[str, str], *focus: str) -> list[str]:
    return [file.path for file in ranked(tags(files), focus)]


def test_a_file_that_many_use_stands_above_one_that_few_use_and_what_it_uses_rises_too() -> None:
    files = {f"user_{n}.py": "from hub import Central\nCentral()\n" for n in range(5)}
    files |= {
        "hub.py": "from deep import Foundation\nclass Central(Foundation): pass\n",
        "deep.py": "class Foundation: pass\n",
        "aside.py": "class Lonely: pass\n",
        "one.py": "from aside import Lonely\nLonely()\n",
    }
    assert order(files)[:3] == ["deep.py", "hub.py", "aside.py"]


def test_names_that_every_library_has_lead_nowhere() -> None:
    files = {f"user_{n}.py": "items.append(1)\nitems.get(2)\n" for n in range(9)}
    files |= {
        "queue.py": "class Ring:\n    def append(self, x): pass\n    def get(self, x): pass\n",
        "price.py": "class Price: pass\n",
        "shop.py": "from price import Price\nPrice()\n",
    }
    assert order(files)[0] == "price.py"


def test_a_name_means_something_only_within_its_family_of_languages() -> None:
    files = {f"user_{n}.py": "compute_total(1)\n" for n in range(9)}
    files |= {
        "script.sh": "compute_total() {\n  true\n}\n",
        "native.go": "package p\n\nfunc helper_used() {}\n",
        "main.go": "package p\n\nfunc main() { helper_used() }\n",
    }
    assert order(files)[0] == "native.go"
    mixed = {
        "a.ts": "export function renderPage(): void {}\n",
        "b.js": "renderPage();\n",
        "c.js": "export function other() {}\n",
    }
    assert order(mixed)[0] == "a.ts"


def test_what_only_tests_define_counts_less() -> None:
    use = "make_thing(1)\nmake_other(2)\n"
    files = {f"tests/test_{n}.py": use for n in range(4)}
    files |= {
        "tests/helpers.py": "def make_thing(x): pass\n",
        "lib.py": "def make_other(x): pass\n",
    }
    scores = {
        definition.name: score
        for file in ranked(tags(files))
        for definition, score in zip(file.definitions, file.scores, strict=True)
    }
    assert scores["make_other"] > 3 * scores["make_thing"] > 0


def test_a_focus_by_name_by_path_by_folder_and_by_file_name() -> None:
    files = {
        "shop/price.py": "class Price: pass\n",
        "shop/order.py": "from shop.price import Price\ndef place_order(): Price()\n",
        "shop/late/slow.py": "class Slow: pass\n",
        "other/util.py": "def aid(): pass\nclass Wrapper:\n    def place_order(self): pass\n",
    }
    assert order(files)[0] == "shop/price.py"
    assert order(files, "Wrapper")[0] == "other/util.py"
    assert order(files, "place_order()")[0] == "shop/order.py"
    assert order(files, "shop/late/slow.py")[0] == "shop/late/slow.py"
    assert order(files, "slow.py")[0] == "shop/late/slow.py"
    assert order(files, "late/slow.py")[0] == "shop/late/slow.py"
    assert order(files, "other/")[0] == "other/util.py"
    assert order(files, "Shop.Wrapper")[0] == "other/util.py"
    assert order(files, "nothing", "", "  ", "./") == order(files)


def test_ranks_are_shares_of_one_reader() -> None:
    files = {f"m{n}.py": f"def fn_{n}(): fn_{(n * 7 + 1) % 30}()\n" for n in range(30)}
    assert abs(sum(file.rank for file in ranked(tags(files))) - 1) < 1e-9
    assert ranked({}) == []
