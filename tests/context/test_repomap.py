from __future__ import annotations

from pathlib import Path

from glmcode.context.repomap import map_budget, repository_map


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


SHOP = {
    "shop/prices.py": "class Price:\n    def rounded(self, places=2):\n        return 1\n\n"
    "def unused_helper():\n    pass\n",
    "shop/basket.py": "from shop.prices import Price\n\nclass Basket:\n"
    "    def add_product(self, product):\n        self.total = Price()\n",
    "shop/orders.py": "from shop.basket import Basket\nfrom shop.prices import Price\n\n"
    "def place_order(basket: Basket) -> Price:\n    basket.add_product(1)\n    return Price()\n",
}


def test_what_the_others_use_comes_before_what_nobody_uses(tmp_path: Path) -> None:
    text = repository_map(put(tmp_path, SHOP), 10_000, len)
    assert text == (
        "shop/prices.py\n"
        " class Price\n"
        "  def rounded(self, places=2)\n"
        " def unused_helper()\n"
        "shop/basket.py\n"
        " class Basket\n"
        "  def add_product(self, product)\n"
        "shop/orders.py\n"
        " def place_order(basket: Basket) -> Price"
    )
    small = repository_map(tmp_path, 60, len)
    assert small == "shop/prices.py\n class Price\nshop/basket.py\n class Basket"


def test_a_focus_puts_the_file_that_defines_it_on_top(tmp_path: Path) -> None:
    put(tmp_path, SHOP)
    assert repository_map(tmp_path, 10_000, len, ["place_order"]).startswith("shop/orders.py\n")
    assert repository_map(tmp_path, 10_000, len, ["basket.py"]).startswith("shop/basket.py\n")


def test_nothing_to_show_is_an_empty_map(tmp_path: Path) -> None:
    assert repository_map(tmp_path, 1_000, len) == ""
    put(tmp_path, {"README.md": "# hello\n", "empty.py": "", "note.py": "# only a comment\n"})
    assert repository_map(tmp_path, 1_000, len) == ""
    assert repository_map(tmp_path / "absent", 1_000, len) == ""
    assert repository_map(put(tmp_path, SHOP), 0, len) == ""
    assert repository_map(tmp_path, 3, len) == ""


def test_the_share_of_a_map_grows_with_the_repository_and_has_a_ceiling() -> None:
    window = 202_752
    shares = [map_budget(files, window) for files in (0, 1, 30, 40, 400, 2_800, 20_000, 10**6)]
    assert shares == [0, 25, 750, 1_000, 4_321, 7_129, 8_192, 8_192]
    assert map_budget(10**6, 16_384) == 682
    assert map_budget(10**6, 0) == 8_192
