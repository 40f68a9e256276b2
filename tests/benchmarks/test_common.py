"""Intervals, measuring, and the tables."""

from __future__ import annotations

import sys
from typing import Any

import common
import pytest


def test_wilson_interval() -> None:
    assert common.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert common.wilson(0, 0) == (0.0, 1.0)


def test_poisson_interval() -> None:
    assert common.poisson_rate(0, 24) == pytest.approx((0.0, 3.6889 / 24), abs=1e-4)
    assert common.poisson_rate(3, 1) == pytest.approx((0.6187, 8.7673), abs=1e-4)


def test_memory_of_a_child_counts() -> None:
    code = (
        "import subprocess, sys;"
        "subprocess.run([sys.executable, '-c', 'import time; x = bytearray(200 * 2**20); time.sleep(1.5)'])"
    )
    run = common.measured([sys.executable, "-c", code], {}, limit_s=30)
    assert run["code"] == 0
    assert run["peak_mib"] >= 200
    assert run["seconds"] >= 1.5


def test_a_run_past_its_limit_is_stopped() -> None:
    run = common.measured([sys.executable, "-c", "import time; time.sleep(60)"], {}, limit_s=0.5)
    assert run["code"] != 0
    assert run["seconds"] < 10
    assert "stopped after" in run["output"]


def test_the_table_names_each_method_and_category() -> None:
    part: dict[str, Any] = {"share": 0.5, "low": 0.25, "high": 0.75, "total": 4, "hits": 2}
    rate = {
        "rate": 0.25,
        "low": 0.0,
        "high": 0.9,
        "count": 4,
        "manuscripts": 4,
        "between": {"same-axes": 3, "blank": 1},
    }
    method = {"recall": part, "by_category": {"mirror": part}, "false_alarms": {"clean": rate, "hard": rate}}
    cost = {
        "seconds_median": 2.0,
        "seconds_max": 9.0,
        "largest_panels": 60,
        "seconds_largest": 8.0,
        "peak_mib_max": 900,
    }
    judged = {"edited_called_manipulated": part, "plain_called_benign": {**part, "share": 0.75, "hits": 6, "total": 8}}
    own = {**method, "panels": {"recall": part, "precision": part}, "cost": cost, "verdicts": judged}
    text = common.markdown_table(
        {
            "methods": {"twinscope": own, "SIFT": method},
            "manuscripts": {"planted": 2, "clean": 1, "hard": 1},
            "panels_total": 80,
            "pairs_total": 4,
            "circumstances": {"device": "a machine", "commit": "abc", "date": "2026-01-01"},
        }
    )
    assert "| **twinscope** | 0.500 (0.250-0.750) | 0.25 (0.00-0.90) | 0.25 (0.00-0.90) |" in text
    assert "| mirror | 4 | 0.50 | 0.50 |" in text
    assert "peak memory of all processes 900 MiB" in text
    assert "twinscope 0.25 / 0.25, SIFT 0.25 / 0.25" in text
    assert "right in 8 of 12, 0.667 (0.391-0.862); of 4 that were edited 0.500 (0.250-0.750) are called" in text
    assert "of 8 others 0.750 (0.250-0.750) are not" in text


def test_the_digest_changes_with_the_code(tmp_path: Any) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    before = common.digest([tmp_path])
    file.write_text("x = 2\n")
    assert common.digest([tmp_path]) != before
