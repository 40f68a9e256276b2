"""The builds: enough of each category, no group in two splits, and truth that fits the PDF."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import compose
import cv2
import manuscripts
import numpy as np
import plan
import plant
import pypdfium2
import pytest
import sources


def test_each_category_is_planted_a_dozen_times() -> None:
    orders = manuscripts.orders(64, 1, "test")
    planted = Counter(c for order in orders for c in order.categories)
    assert set(planted) == set(plant.CATEGORIES)
    assert min(planted.values()) >= 12
    assert Counter(o.kind for o in orders) == {"planted": 24, "clean": 24, "hard": 16}
    assert min(o.panels for o in orders) == 8
    assert max(o.panels for o in orders) == 60


def test_plans_hold_what_was_asked_and_nothing_overlaps() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted: dict[plan.Kind, int] = {"picture": 17, "blot": 5, "chart": 6}
        plans = plan.figures(rng, wanted)
        assert Counter(s.kind for p in plans for s in p.slots) == wanted
        for figure in plans:
            assert 150 <= figure.dpi <= 300
            for i, a in enumerate(figure.slots):
                assert a.box[2] <= figure.width + 0.01
                assert a.box[3] <= figure.height
                for b in figure.slots[i + 1 :]:
                    apart = a.box[2] <= b.box[0] or b.box[2] <= a.box[0] or a.box[3] <= b.box[1] or b.box[3] <= a.box[1]
                    assert apart


def test_no_group_and_no_host_is_in_two_splits(shared: Path) -> None:
    assert not set(sources.micrographs("test")) & set(sources.micrographs("train"))
    assert not set(sources.blots("test")) & set(sources.blots("train"))


def test_a_patch_is_whole_only_outside_its_masks(shared: Path) -> None:
    patch = next(p for patches in sources.blots("test").values() for p in patches if len(p.versions) == 1)
    mask = cv2.imread(str(sources.shared() / "blots" / patch.versions[0][1]), cv2.IMREAD_GRAYSCALE)
    _, missing = sources.patch_pixels(patch)
    assert missing[mask > 0].all()
    for x0, y0, x1, y1 in sources.clean_boxes(patch, np.random.default_rng(0)):
        assert not missing[y0:y1, x0:x1].any()


@pytest.fixture(scope="module")
def built(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("manuscripts")
    planted = compose.Order("planted-01", "planted", 16, ("mirror", "blot", "gamma", "erased"), "train", 3)
    hard = compose.Order("hard-01", "hard", 18, (), "train", 3)
    return folder, {o.name: compose.compose(o, folder) for o in (planted, hard)}


def test_the_truth_fits_the_page(built: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, truths = built
    for name, truth in truths.items():
        assert truth == json.loads((folder / f"{name}.json").read_text())
        assert len(truth["panels_truth"]) == truth["panels"]
        document = pypdfium2.PdfDocument(folder / f"{name}.pdf")
        assert len(document) == truth["pages"]
        for panel in (p for p in truth["panels_truth"] if p["kind"] == "micrograph" and "lookalike" not in p):
            given = cv2.imread(str(folder / "panels" / name / f"{panel['id']}.png"), cv2.IMREAD_GRAYSCALE)
            assert list(given.shape) == panel["size"]
            x0, y0, x1, y1 = panel["box_pt"]
            page = document[panel["page"] - 1].render(scale=2).to_numpy()
            part = cv2.cvtColor(page[round(2 * y0) : round(2 * y1), round(2 * x0) : round(2 * x1)], cv2.COLOR_BGR2GRAY)
            part = cv2.GaussianBlur(cv2.resize(part, given.shape[::-1]).astype(np.float32), (0, 0), 4)
            same = cv2.GaussianBlur(given.astype(np.float32), (0, 0), 4)
            assert float(np.abs(part - same)[8:-8, 8:-8].mean()) < 4
        document.close()


def test_pairs_name_panels_of_their_kind(built: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    truth = built[1]["planted-01"]
    kinds = {p["id"]: p["kind"] for p in truth["panels_truth"]}
    assert [p["category"] for p in truth["pairs"]] == ["mirror", "blot", "gamma", "erased"]
    for pair in truth["pairs"]:
        expected = "blot" if pair["category"] == "blot" else "micrograph"
        assert kinds[pair["a"]] == kinds[pair["b"]] == expected
        assert bool(pair["changes"]) == pair["edited"] == (pair["category"] == "erased")


def test_a_hard_manuscript_has_look_alikes_and_no_pair(built: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    truth = built[1]["hard-01"]
    assert truth["pairs"] == []
    assert sum("lookalike" in p for p in truth["panels_truth"]) >= 8


def test_the_same_order_gives_the_same_bytes(built: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    folder, truths = built
    truth = truths["planted-01"]
    order = compose.Order(*(truth[name] for name in compose.Order._fields))
    compose.compose(order._replace(categories=tuple(order.categories)), tmp_path)
    assert (tmp_path / "planted-01.pdf").read_bytes() == (folder / "planted-01.pdf").read_bytes()
