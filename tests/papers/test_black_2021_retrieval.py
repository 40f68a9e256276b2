"""Table 1 of black-2021: pictures that come again, ranks and indexes by hand, the whole of it small, and its page."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import ir_choice
import ir_figures
import ir_index
import ir_looked
import ir_methods as im
import ir_pictures as ip
import ir_readme
import ir_tables
import torch
from PIL import Image

from twinscope.train import drawn, hashing, loop, protocol, search, stock

HERE = Path(__file__).resolve().parents[2] / "papers" / "black-2021" / "retrieval"


def some(count: int) -> list[Any]:
    return [part for k in range(count) for part in drawn.family(np.random.default_rng(k), [0, 1])]


SHELF = ip.shelf_of([some(1)[0], np.repeat(some(2)[-1][:200, :, None], 3, 2)])


# ---------------------------------------------------------------------------------------------------- pictures


def test_a_distractor_is_made_of_its_number_alone() -> None:
    shard = [one for lot in ip.shard(SHELF, 7, 3, 0, 10, lot=4) for one in lot]
    assert len(shard) == 10
    assert all(one.shape[:2] == (224, 224) and one.dtype == np.uint8 for one in shard)
    later = [one for lot in ip.shard(SHELF, 7, 3, 8, 2) for one in lot]
    assert [np.array_equal(a, b) for a, b in zip(shard[8:], later, strict=True)] == [True, True]
    for number in (0, 4, 9):
        assert np.array_equal(ip.distractor(SHELF, 7, 3, number), shard[number])
    others = [ip.distractor(SHELF, 8, 3, 0), ip.distractor(SHELF, 7, 4, 0), shard[1]]
    assert not any(one.shape == shard[0].shape and np.array_equal(one, shard[0]) for one in others)


def test_a_share_of_distractors_is_manipulated(monkeypatch: pytest.MonkeyPatch) -> None:
    count = {"edited": 0, "worn": 0}

    def told(name: str, answer: Any) -> Any:
        def step(image: Any, *rest: Any) -> Any:
            count[name] += 1
            return answer(image)

        return step

    monkeypatch.setattr(ip.changes, "edited", told("edited", lambda image: (image, None, ())))
    monkeypatch.setattr(ip.wear, "worn_down", told("worn", lambda image: image))
    for _ in ip.shard(SHELF, 1, 0, 0, 300):
        pass
    assert 0.7 * 300 * 0.2 * 2 / 3 < count["edited"] < 1.4 * 300 * 0.2 * 2 / 3
    assert 0.7 * 300 * 0.2 * 2 / 3 < count["worn"] < 1.4 * 300 * 0.2 * 2 / 3


def test_pictures_are_drawn_by_the_root_of_their_area() -> None:
    shelf = ip.shelf_of([np.zeros((30, 30), np.uint8), np.zeros((90, 90, 3), np.uint8)])
    assert shelf.odds == pytest.approx([0.25, 1.0])


def test_a_picture_without_colour_has_one_channel() -> None:
    grey = some(1)[0]
    assert np.array_equal(ip.plain(np.repeat(grey[..., None], 3, 2)), grey)
    coloured = np.repeat(grey[..., None], 3, 2)
    coloured[5, 5, 1] ^= 1
    assert ip.plain(coloured) is coloured


# ---------------------------------------------------------------------------------------------------- ranks


def by_hand(name: str = "toy") -> im.Method:
    family = im.Family(name, "1", lambda pictures: np.stack([one[0, :2, 0] for one in pictures]).astype(np.float32))
    return im.Method(name, family, "", im.unit, im.dot)


def test_ranks_by_hand(tmp_path: Path) -> None:
    """Originals at 0, 90 and 10 degrees; the query at 4 is of the first: distractors lie at 3, 8 and 8 degrees."""

    def at(*degrees: float) -> Any:
        angles = np.radians(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    class Toy:
        originals = at(0, 90, 10)
        queries = {"both": at(4, 90, 8)}  # noqa: RUF012

    near = np.eye(3, dtype=np.bool_)
    found = ir_tables.ranks(by_hand(), Toy(), near, lambda: iter([at(3, 8), at(8)]))["both"]  # type: ignore[arg-type]
    assert found.tolist() == [1 + 1 + 1, 1, 1 + 2]  # 8 degrees lie as far as 0: two by half; of 10 both at 8 are nearer
    near[2, 0] = near[0, 2] = True
    again = ir_tables.ranks(by_hand(), Toy(), near, lambda: iter([at(5)]))["both"]  # type: ignore[arg-type]
    assert again.tolist() == [2, 1, 1]


def test_equals_count_by_half() -> None:
    values = np.array([[3.0, 2, 2, 1], [1, 1, 1, 1]])
    assert ir_tables.counted(values, np.array([2.0, 0])).tolist() == [2.0, 4.0]


def test_recalls_by_hand() -> None:
    ranks, groups = np.array([1.0, 1.5, 10, 101, np.inf]), np.array([0, 0, 1, 1, 2])
    found = ir_tables.recalls(ranks, groups)
    assert [found[k]["mean"] for k in ("1", "10", "100")] == [0.2, 0.6, 0.6]
    row = ir_tables.subset("a", {"both": ranks, "benign": ranks[:2]}, {"both": groups, "benign": groups[:2]})
    assert row["average"]["1"]["mean"] == pytest.approx(2 / 7, abs=1e-4)
    assert row["curves"]["both"][:2] == [0.2, 0.4]
    assert len(row["curves"]["both"]) == 100


def test_shards_are_made_in_parts() -> None:
    found = ir_tables.parts(11_500)
    assert len(found) == 12
    assert [tuple(one) for one in found[8:]] == [(0, 8000, 1000), (0, 9000, 1000), (1, 0, 1000), (1, 1000, 500)]
    assert ir_tables.parts(0) == []


# ---------------------------------------------------------------------------------------------------- equation 3


def test_what_is_quantised_comes_back_nearly() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 32)).astype(np.float32)
    quantiser = ir_index.learned(vectors, 1, lists=8, parts=16, centres=64)
    lists, codes = ir_index.encoded(quantiser, vectors)
    assert codes.shape == (600, 16)
    assert codes.dtype == np.uint8
    back = ir_index.decoded(quantiser, lists, codes)
    one = quantiser.coarse[lists[5]] + np.concatenate([quantiser.fine[k, codes[5, k]] for k in range(16)])
    assert back[5] == pytest.approx(one, abs=1e-6)
    whole = ((vectors - vectors.mean(0)) ** 2).sum()
    coarse = ((vectors - quantiser.coarse[lists]) ** 2).sum()
    assert ((vectors - back) ** 2).sum() < 0.2 * coarse < 0.2 * whole
    assert lists[7] == ((quantiser.coarse - vectors[7]) ** 2).sum(1).argmin()


def test_few_vectors_are_kept_as_they_are() -> None:
    vectors = np.random.default_rng(2).normal(size=(6, 16)).astype(np.float32)
    quantiser = ir_index.learned(vectors, 1)
    assert ir_index.decoded(quantiser, *ir_index.encoded(quantiser, vectors)) == pytest.approx(vectors, abs=1e-5)


def test_only_the_nearest_lists_are_looked_through() -> None:
    rng = np.random.default_rng(3)
    middle = np.eye(4, 16, dtype=np.float32) * 10
    vectors = (middle[np.arange(80) % 4] + 0.1 * rng.normal(size=(80, 16))).astype(np.float32)
    quantiser = ir_index.Quantiser(middle, ir_index.learned(vectors, 1, 4, 16, 32).fine)
    index = ir_index.made(quantiser, *ir_index.encoded(quantiser, vectors))
    found, far = ir_index.looked(index, vectors[5], probed=1)
    assert sorted(found) == list(range(1, 80, 4))
    assert found[far.argmin()] == 5 or far.min() < 0.1
    assert len(ir_index.looked(index, vectors[5], probed=4)[0]) == 80


def test_ranks_of_the_index() -> None:
    rng = np.random.default_rng(4)
    every = im.unit(rng.normal(size=(400, 32)))

    class Toy:
        originals = every[:3]
        queries = {"both": every[:3]}  # noqa: RUF012

    found = ir_tables.quantised(Toy(), np.eye(3, dtype=np.bool_), every, 1)["both"]  # type: ignore[arg-type]
    assert found.tolist() == [1, 1, 1]
    Toy.queries = {"both": -every[:3]}  # on the other side: in no list that is looked through
    assert not np.isfinite(ir_tables.quantised(Toy(), np.eye(3, dtype=np.bool_), every, 1)["both"]).any()  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- stage 2


class Drawn(ir_looked.Made):
    def __init__(self, pictures: list[Any]) -> None:
        super().__init__("test", 1, 10, None)  # type: ignore[arg-type]
        self.pictures = pictures

    def picture(self, number: int) -> Any:
        return self.pictures[number]


def asked_of(pictures: list[Any], queries: list[Any]) -> ip.Asked:
    original, query = (np.repeat(np.stack(part)[..., None], 3, -1) for part in (pictures, queries))
    count = len(pictures)
    return ip.Asked(original, {"both": query}, np.arange(count), np.eye(count, dtype=np.bool_))


def test_stage_two_puts_the_original_first(tmp_path: Path) -> None:
    pictures = [np.ascontiguousarray(one[:224, :224]) for one in some(3)]
    worn = np.clip(pictures[1].astype(np.float32) * 0.8 + 20, 0, 255).astype(np.uint8)
    asked = asked_of(pictures, [worn] * len(pictures))
    shortlist = {"both": {1: [(0, 0.1), (3, 0.2), (1, 0.3), (5, 0.4)]}}
    path = tmp_path / "looked.jsonl"
    before = {"both": np.array([1.0, 3, 1, 1, 1, 1])}
    found = ir_looked.anew(shortlist, before, asked, Drawn(pictures), path)
    assert found.ranks["both"].tolist() == found.distinct["both"].tolist() == [1.0]
    line = json.loads(path.read_text())
    assert (line["set"], line["query"], line["rank"], line["before"]) == ("both", 1, 1.0, 3.0)
    path.write_text(json.dumps({**line, "rank": 2.0, "distinct": 4.0}) + "\n")
    again = ir_looked.anew(shortlist, before, asked, Drawn([]), path)  # what is known is not asked again
    assert (again.ranks["both"].tolist(), again.distinct["both"].tolist()) == ([2.0], [4.0])
    beyond = ir_looked.anew(shortlist, {"both": np.full(6, 250.0)}, asked, Drawn([]), tmp_path / "other.jsonl")
    assert beyond.ranks["both"].tolist() == beyond.distinct["both"].tolist() == [250.0]


def test_shortlists_hold_the_nearest() -> None:
    rng = np.random.default_rng(1)
    every = im.unit(rng.normal(size=(300, 8)))
    near = np.eye(4, dtype=np.bool_)
    near[0, 1] = near[1, 0] = True
    found = ir_looked.shortlists(every[:4], {"both": every[:4]}, every, near, 2)["both"]
    assert list(found) == [0, 1]
    assert len(found[0]) == 100
    assert found[0][0] == (0, pytest.approx(0, abs=1e-3))
    assert 1 not in [number for number, _ in found[0]]
    want = [k for k in np.argsort(-every @ every[1], kind="stable") if k != 0][:100]
    assert [number for number, _ in found[1]] == want


def test_a_number_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of([one[:224, :224] for one in some(1)], [one[:224, :224] for one in some(1)])
    monkeypatch.setattr(ip, "shelf", lambda split: SHELF)
    made = ir_looked.Made("test", 7, 10, asked)
    assert np.array_equal(made.picture(1), asked.originals[1, ..., 0])
    assert np.array_equal(made.picture(2), ip.distractor(SHELF, 7, 0, 0))
    assert np.array_equal(made.picture(2 + 34), ip.distractor(SHELF, 7, 3, 4))


# ---------------------------------------------------------------------------------------------------- methods


def write_runs(runs: Path) -> None:
    """Write what the recipes leave behind, of networks that nobody trained."""
    torch.manual_seed(5)
    network = search.Search()
    (runs / "search-small").mkdir(parents=True)
    for name in ("start", "best"):
        row = {"step": 4, "seconds": 60, "score": 0.5}
        loop.save(
            runs / "search-small" / f"{name}.pt", {"stage": "search-small", "network": network.state_dict(), "row": row}
        )
        with torch.no_grad():
            network.layer.weight.mul_(-0.5)
    (runs / "search-small" / "curve.csv").write_text("step,seconds\n4,60\n8,120\n")
    record = {"views": 64, "plan": {"rate": 0.002, "threads": 2}, "start": search.START, "side": 96}
    (runs / "search-small" / "run.json").write_text(json.dumps(record))
    for kind in ("hashnet", "csq"):
        (runs / f"search-{kind}").mkdir()
        head = hashing.Head(640)
        loop.save(
            runs / f"search-{kind}" / "best.pt", {"stage": kind, "network": head.state_dict(), "row": {"step": 1}}
        )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The whole of it: six originals among 25 distractors, in shards of ten."""
    folder = tmp_path_factory.mktemp("retrieval")
    write_runs(folder / "runs")
    pictures = [np.ascontiguousarray(one[:224, :224]) for one in some(3)]
    one = asked_of(pictures, [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures])
    asked = one._replace(queries=dict.fromkeys(ip.SETS, one.queries["both"]))
    made: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ip, "shelf", lambda split: SHELF)
        patch.setattr(ip, "asked", lambda *_: asked)
        patch.setattr(ir_tables, "SHARD", 10)
        patch.setattr(ir_tables, "PART", 5)
        for distractors, share in (("12", "1/1"), ("25", "2/2"), ("25", "1/1")):
            told = [
                "--json",
                str(folder / "out.json"),
                "--runs",
                str(folder / "runs"),
                "--cache",
                str(folder / "cache"),
            ]
            asking = ["--distractors", distractors, "--share", share, "--queries", "6", "--looked", "1"]
            assert ir_tables.main([*told, *asking]) == 0
            made.append(len(list(folder.glob(f"cache/*/{search.START}-*/0*.npy"))))
    assert made == [3, 4, 6]  # the second share of 25 is two parts, one of which was there
    return folder, json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize("share", ["3/2", "0/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_what_is_no_share_is_refused(share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ir_tables.main(["--json", str(tmp_path / "out.json"), f"--share={share}"])
    assert f"{share!r} is no share; write K/N" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_whole_table(small: tuple[Path, dict[str, Any]]) -> None:
    folder, out = small
    assert {row["name"] for row in out["table1"]} >= {"ours", "ours-pq", "start", search.START, "hashnet", "csq"}
    assert out["distractors"] == 25
    assert out["missing"]["imagenet"] == "weights not present (`--imagenet FILE`)"
    assert out["missing"]["SN"] == "not trained here (sn-v02/best.pt)"
    rows = {row["name"]: row for row in out["table1"]}
    assert rows[search.START]["average"]["1"]["mean"] == 1.0  # mirrored drawings among six
    assert rows["ours"]["sets"]["both"]["queries"] == 6
    assert out["looked"]["queries"] == 1
    assert out["looked"]["stage 1+2, distinct"]["sets"]["both"]["queries"] == 1
    assert len(list(folder.glob(f"cache/*/looked-*-31-{ir_looked.code()}.jsonl"))) == 1  # 6 + 25 pictures
    assert out["training"]["step"] == 4
    kept = sorted(path.name for path in folder.glob(f"cache/*/{search.START}-*/0*.npy"))
    assert kept == [f"{name}.npy" for name in ("00000-0000-5", "00000-0005-5", "00001-0000-2", "00001-0000-5",
                                               "00001-0005-5", "00002-0000-5")]  # fmt: skip
    one = np.load(next(folder.glob(f"cache/*/{search.START}-*/00000-0005-5.npy")))
    assert one.shape == (5, 640)
    again = im.pooled([ip.distractor(SHELF, 7, 0, k) for k in range(5, 10)])
    assert np.abs(one.astype(np.float32) - again.astype(np.float32)).max() < 0.05 * np.abs(again).max()


def test_methods_say_what_their_networks_do(small: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = small
    found, _ = im.methods(folder / "runs", folder / "cache", None)
    by_name = {one.name: one for one in found}
    pictures = [one[:224, :224] for one in some(2)]
    views = np.stack([stock.shrunk(one, 96) for one in pictures])
    ours = by_name["ours"].vectors(by_name["ours"].family.look(pictures))
    network = search.open_network(folder / "runs" / "search-small" / "best.pt")
    assert np.abs(ours - search.embed(network, views)).max() < 2e-3
    from twinscope.detect import embed

    desk = by_name[search.START]
    assert np.abs(desk.vectors(desk.family.look(pictures)) - im.unit(embed.embed(pictures, search.START))).max() < 5e-3
    head = hashing.open_head(folder / "runs" / "search-csq" / "best.pt")
    numbers = by_name["csq"].family.look(pictures)
    assert np.array_equal(by_name["csq"].vectors(numbers) > 0, hashing.codes(head, numbers))
    if "pHash" in by_name:
        import imagehash

        bits = by_name["pHash"].vectors(by_name["pHash"].family.look(pictures))
        a, b = (imagehash.phash(Image.fromarray(one)) for one in pictures[:2])
        assert by_name["pHash"].nearness(bits[:1], bits[1:2])[0, 0] == 64 - 2 * (a - b)


def test_imagenet_takes_its_row_where_the_weights_are(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    found, missing = im.methods(tmp_path, tmp_path, tmp_path / "resnet50.pth")
    method = next(one for one in found if one.name == "imagenet")
    assert "imagenet" not in missing
    assert method.vectors(method.family.look(some(1))).shape == (2, 2048)


# ---------------------------------------------------------------------------------------------------- the page


def test_the_page_is_made_from_the_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == ir_readme.text()
    assert (
        "../papers/black-2021/retrieval/README.md"
        in runpy.run_path(str(HERE.parents[2] / "docs/generate.py"))["pages"]()
    )


def test_the_page_says_every_number(small: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, out = small
    page = "\n".join(ir_readme.tables(out))
    assert "6 originals of 6 groups among 25 distractors" in page
    assert "weights not present" in page
    assert "step 4 of 8 of 64 views, 2 minutes on 2 threads" in page
    row = next(line for line in page.splitlines() if line.startswith(f"| {search.START}"))
    assert row.count("1.000 [1.000, 1.000]") == 4
    both = out["looked"]["stage 1+2"]
    both["average"]["1"]["mean"] = 0.96
    assert "| ours, stage 1 + 2 | .95 |" in "\n".join(ir_readme.tables(out))
    assert "| reached |" in "\n".join(ir_readme.tables(out))
    assert list(ir_readme.tables(None)) == ["Nothing has been measured here yet: `run.sh` does it."]
    ir_figures.draw(out, tmp_path / "recall.png")
    with Image.open(tmp_path / "recall.png") as drawn_one:
        assert drawn_one.width > 900


def test_run_sh_refuses_what_it_does_not_know() -> None:
    for arguments in (["--wrong", "1"], ["--minutes"]):
        done = subprocess.run([str(HERE / "run.sh"), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "run.sh: --" in done.stderr


def test_run_sh_goes_through_every_part(tmp_path: Path) -> None:
    """With a python that only writes down what it is asked."""
    asked = tmp_path / "asked"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    python.chmod(0o755)
    (tmp_path / "search-csq").mkdir()
    (tmp_path / "search-csq" / "run.json").write_text('{"wall_s": 3}')
    told = ["--runs", str(tmp_path), "--minutes", "2", "--distractors", "50", "--looked", "3"]
    environment = {**os.environ, "PYTHON": str(python)}
    subprocess.run([str(HERE / "run.sh"), *told], check=True, env=environment)
    lines = asked.read_text().splitlines()
    assert [line.split()[1 if line.startswith("-m") else 0] for line in lines] == [
        "twinscope.train.search", "twinscope.train.hashing", "papers/black-2021/retrieval/ir_tables.py",
        "papers/black-2021/retrieval/ir_figures.py", "docs/generate.py",
    ]  # fmt: skip
    assert "--kind hashnet" in lines[1]
    assert "--distractors 50 --looked 3" in lines[2]


# ---------------------------------------------------------------------------------------------------- hashing heads


@pytest.mark.parametrize("kind", ["hashnet", "csq"])
def test_a_head_learns_what_belongs_together(kind: Any, tmp_path: Path) -> None:
    """Six pictures a batch, four views each, told apart by features that noise lies on."""
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(2, 6, 1, 24))
    features = (middle + 0.3 * rng.normal(size=(2, 6, 4, 24))).reshape(2, 24, 24).astype(np.float32)
    known = hashing.Views(features, np.zeros((2, 24, 24), np.bool_))
    head = hashing.train(kind, known, 300, 1, tmp_path, rate=1e-2)
    codes = hashing.codes(head, features[0])
    assert codes.shape == (24, 128)
    far = (codes[:, None] != codes[None]).sum(-1)
    own = np.kron(np.eye(6, dtype=bool), np.ones((4, 4), bool))
    assert far[own].mean() < 12
    assert far[~own].mean() > 50
    again = hashing.train(kind, known, 300, 1, tmp_path, rate=1e-2)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in head.state_dict().items())


def test_features_are_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    pixels = np.stack([drawn.family(np.random.default_rng(k), list(range(4))) for k in range(6)])
    source = stock.Stock(np.zeros(0, np.uint8), [], pixels, "0")
    network, batches = search.Search(), search.Worn(source, 1, 3, 32, 2)
    first = hashing.views(network, batches, tmp_path / "kept.npz")
    assert first.features.shape == (2, 12, 640)
    with torch.inference_mode():
        want = network.eval().features(search.tensor(batches[1].views)).numpy()
    assert np.array_equal(first.features[1], want)
    monkeypatch.setattr(network, "features", None)
    again = hashing.views(network, batches, tmp_path / "kept.npz")
    assert np.array_equal(again.features, first.features)


def test_the_choice_is_made_on_validation(small: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, out = small
    found, _ = im.methods(folder / "runs", folder / "cache", None)
    desk = next(one for one in found if one.name == search.START)
    pictures = np.stack([np.stack([one[::2, ::2][:112, :112]] * 3) for one in some(2)])
    windows = [protocol.data.Window(k, k, 0, "drawn", "drawn", (0, 0, 1, 1)) for k in range(4)]
    numbers = ir_choice.judged(desk, protocol.Classes(pictures, windows))
    assert numbers == {"ir1": 1.0, "best_accuracy": 1.0, "tpr_1e-3": 1.0}
    rows = [row for row in out["table1"] if row["name"] in ir_choice.NAMES]
    chosen = {**out, "table1": rows, "desk": {name: {"v02": numbers} for name in ir_choice.NAMES}}
    page = list(ir_readme.choices(chosen))
    assert page[-1].endswith("| 1.000 / 1.000 / 1.000 |")
    assert sum(line.startswith(f"| {search.START} (the desk's at that commit) |") for line in page) == 1
    assert list(ir_readme.choices(None)) == []
