"""Counting: what is mapped to what, and what counts as found."""

from __future__ import annotations

from typing import Any

import score


def panel(name: str, box: tuple[float, float, float, float], **more: Any) -> dict[str, Any]:
    return {"id": name, "page": 2, "box_pt": list(box), "kind": "micrograph", **more}


TRUTH = {
    "kind": "planted",
    "panels_truth": [
        panel("p0", (0, 0, 100, 100)),
        panel("p1", (110, 0, 210, 100)),
        panel("p2", (220, 0, 320, 100), lookalike="same-slide", set=1),
        panel("p3", (330, 0, 430, 100), lookalike="same-slide", set=1),
    ],
    "pairs": [{"a": "p0", "b": "p1", "category": "mirror", "edited": False, "detail": {}}],
}


def extracted(name: str, box: tuple[float, float, float, float], page: int = 2) -> dict[str, Any]:
    return {"id": name, "kind": "micrograph", "size": [200, 200], "source": {"page": page, "box_pt": list(box)}}


def finding(a: str, b: str, **more: Any) -> dict[str, Any]:
    whole = [0, 0, 200, 200]
    base = {"id": f"{a}{b}", "a": a, "b": b, "region_a": whole, "region_b": whole}
    return {**base, "probability": 0.9, "verdict": "benign", **more}


def judged(panels: list[dict[str, Any]], findings: list[dict[str, Any]]) -> dict[str, Any]:
    return score.judged(score.twinscope_pairs({"panels": panels, "findings": findings}, TRUTH), TRUTH)


def test_a_planted_pair_is_found_in_either_order() -> None:
    panels = [extracted("x", (2, 2, 101, 99)), extracted("y", (108, 1, 212, 102))]
    for pair in (("x", "y"), ("y", "x")):
        result = judged(panels, [finding(*pair)])
        assert list(result["found"]) == ["0"]
        assert result["alarms"] == []


def test_another_pair_is_a_false_alarm_and_says_between_what() -> None:
    panels = [extracted("x", (220, 0, 320, 100)), extracted("y", (330, 0, 430, 100)), extracted("z", (0, 0, 100, 100))]
    result = judged(panels, [finding("x", "y"), finding("x", "z")])
    assert result["found"] == {}
    assert [a["between"] for a in result["alarms"]] == ["same-slide", "micrograph and micrograph"]


def test_the_region_tells_where_in_an_unsplit_panel() -> None:
    whole = extracted("x", (0, 0, 430, 100))
    inside = finding("x", "x", region_a=[0, 0, 40, 200], region_b=[60, 0, 90, 200])
    assert list(judged([whole], [inside])["found"]) == ["0"]
    one = finding("x", "x", region_a=[0, 0, 40, 200], region_b=[0, 0, 20, 200])
    assert judged([whole], [one])["alarms"][0]["between"] == "one panel"


def test_another_page_is_no_true_panel() -> None:
    panels = [extracted("x", (0, 0, 100, 100), page=1), extracted("y", (110, 0, 210, 100))]
    assert judged(panels, [finding("x", "y")])["alarms"][0]["between"] == "no true panel"


def test_the_same_pair_told_twice_is_found_once() -> None:
    panels = [extracted("x", (0, 0, 100, 100)), extracted("y", (110, 0, 210, 100))]
    twice = [finding("x", "y", probability=0.7, verdict="manipulated"), finding("x", "y")]
    result = judged(panels, twice)
    assert result["found"]["0"]["probability"] == 0.9
    assert result["alarms"] == []


def test_panels_are_counted_once_each() -> None:
    screening = {
        "panels": [extracted("x", (0, 0, 100, 100)), extracted("y", (0, 0, 98, 100)), extracted("z", (0, 0, 9, 9))]
    }
    assert score.panel_counts(screening, TRUTH) == {"true": 4, "extracted": 3, "matched": 1, "kind": 1}


def test_rates_are_by_kind_of_manuscript() -> None:
    clean = {**TRUTH, "kind": "clean", "pairs": []}
    alarm = {"found": {}, "alarms": [{"between": "graph and graph"}]}
    found = {"found": {"0": {}}, "alarms": []}
    result = score.method(
        {"a": found, "b": alarm, "c": {"found": {}, "alarms": []}}, {"a": TRUTH, "b": clean, "c": clean}
    )
    assert result["recall"]["share"] == 1
    assert result["by_category"]["mirror"]["total"] == 1
    assert result["false_alarms"]["clean"]["rate"] == 0.5
    assert result["false_alarms"]["clean"]["between"] == {"graph and graph": 1}
    assert result["false_alarms"]["planted"]["count"] == 0
