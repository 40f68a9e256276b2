"""The peers find what they are known to find, and miss what they are known to miss."""

from __future__ import annotations

from pathlib import Path

import cv2
import draw
import numpy as np
import peers
import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    folder: Path = tmp_path_factory.mktemp("panels")
    rng = np.random.default_rng(1)
    field = np.uint8(255 * draw.electron(rng, (300, 620)))
    a = field[:, :300]
    shown = {"a": a, "copy": a.copy(), "mirror": a[:, ::-1], "other": field[:, 320:], "turned": np.rot90(a)}
    for name, image in shown.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(image))
    return {peer: set(pairs) for peer, pairs in peers.compare_all(folder).items()}


def test_an_exact_copy_is_found_by_all(found: dict[str, set[tuple[str, str]]]) -> None:
    assert all(("a", "copy") in pairs for pairs in found.values())


def test_a_turned_copy_is_found_by_key_points_only(found: dict[str, set[tuple[str, str]]]) -> None:
    assert ("a", "turned") not in found["phash"]
    assert ("a", "turned") in found["SIFT"]


def test_a_mirrored_copy_is_found_where_mirrors_are_looked_at(found: dict[str, set[tuple[str, str]]]) -> None:
    assert ("a", "mirror") not in found["SIFT"]
    assert ("a", "mirror") in found["ELIS settings"]


def test_another_field_is_found_by_none(found: dict[str, set[tuple[str, str]]]) -> None:
    assert not any("other" in pair for pairs in found.values() for pair in pairs)


def test_a_blank_panel_has_no_features() -> None:
    blank = peers.features(np.full((200, 200), 128, np.uint8))
    assert blank.marks.shape == (0, 128)
    assert peers.homography_inliers(blank, blank) == 0
    assert not peers.epipolar_match(blank, blank)
