"""``orderflow stock``: set, adjust, show, import."""

import json
from pathlib import Path
from uuid import uuid4

from support.terminal import Shop


async def test_stock_is_set_adjusted_and_shown(shop: Shop) -> None:
    run, sku = shop.terminal.run, f"jam-{uuid4().hex[:8]}:red"
    made = await run("stock", "set", sku, "10")
    assert (made.code, made.out) == (0, f"{sku} +10: 10 on hand, 0 reserved, 10 available (version 1)\n")
    fewer = await run("stock", "adjust", sku, "-3", "--reason", "broken")
    assert (fewer.code, fewer.out) == (0, f"{sku} -3: 7 on hand, 0 reserved, 7 available (version 2)\n")
    document = json.loads((await run("stock", "show", sku, "--json")).out)
    assert (document["on_hand"], document["version"]) == (7, 2)
    assert sku in (await run("stock", "show", sku)).out
    listed = json.loads((await run("stock", "show", "--limit", "1", "--json")).out)
    assert len(listed["stock"]) == 1
    assert listed["next_cursor"]


async def test_a_change_that_was_sent_before_happens_once(shop: Shop) -> None:
    sku, key = f"tea-{uuid4().hex[:8]}", ("--key", f"k-{uuid4()}")
    await shop.terminal.run("stock", "set", sku, "10")
    for _ in range(2):
        said = await shop.terminal.run("stock", "adjust", sku, "5", "--reason", "delivery", *key)
    assert "already there" in said.out
    assert json.loads((await shop.terminal.run("stock", "show", sku, "--json")).out)["on_hand"] == 15


async def test_what_cannot_be_is_refused(shop: Shop) -> None:
    run, sku = shop.terminal.run, f"egg-{uuid4().hex[:8]}"
    unknown = await run("stock", "adjust", sku, "1", "--reason", "found")
    assert (unknown.code, "No such SKU (404)" in unknown.err) == (4, True)
    await run("stock", "set", sku, "1")
    stale = await run("stock", "set", sku, "2", "--if-match", "9")
    assert (stale.code, "Version conflict (412)" in stale.err) == (1, True)
    assert (await run("stock", "adjust", sku, "1")).code == 2
    for unreachable in (".", ".."):
        refused = await run("stock", "set", unreachable, "1")
        assert (refused.code, "no URL can name" in " ".join(refused.err.split())) == (1, True), refused.err
    assert (await run("stock", "set", sku, "-1")).code == 2
    assert (await run("stock", "adjust", sku, "1", "--raeson", "typo")).code == 2


async def test_a_file_states_the_same_however_often_it_is_imported(shop: Shop, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    products = tmp_path / "products.csv"
    products.write_text("product_id,name\n" + "".join(f"{mark}-{n},thing\n" for n in range(30)))
    first = await shop.terminal.run("stock", "import", str(products), "--on-hand", "7")
    assert (first.code, first.out) == (0, "30 SKUs: 30 new, 0 counted again\n")
    again = await shop.terminal.run("stock", "import", str(products), "--on-hand", "7", "--json")
    assert (again.code, json.loads(again.out)["counted"]) == (0, 30)
    assert json.loads((await shop.terminal.run("stock", "show", f"{mark}-29", "--json")).out)["on_hand"] == 7


async def test_a_refused_sku_does_not_keep_the_others(shop: Shop, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    file = tmp_path / "stock.csv"
    file.write_text(f"sku,on_hand\nno sku,1\n{mark},3\n")
    said = await shop.terminal.run("stock", "import", str(file))
    assert (said.code, said.out) == (1, "2 SKUs: 1 new, 0 counted again, 1 refused\n")
    assert "no sku: Invalid request (422)" in said.err
    assert (await shop.terminal.run("stock", "import", str(tmp_path / "none.csv"))).code == 2
