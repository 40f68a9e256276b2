"""Many pairs in one run: each has its case, and what cannot be read is told and stops nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from twinscope import batch, pixels
from twinscope.errors import UsageError
from twinscope.report import index
from twinscope.settings import Settings
from twinscope.types import (
    Classes,
    Edit,
    Finding,
    InputFile,
    Origin,
    Panel,
    Problem,
    Provenance,
    Screening,
)  # fmt: skip

Run = Callable[..., tuple[int, str, str]]
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def cells(seed: int) -> pixels.Image:
    """Draw cells on grain."""
    rng = np.random.default_rng(seed)
    image = np.full((240, 300), 30.0, np.float32)
    for _ in range(40):
        at = (int(rng.integers(0, 300)), int(rng.integers(0, 240)))
        cv2.ellipse(image, at, (int(rng.integers(6, 18)), int(rng.integers(5, 12))), float(rng.uniform(0, 180)), 0, 360,
                    float(rng.uniform(70, 200)), -1)  # fmt: skip
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, its mirrored copy, another picture and a damaged one."""
    out = tmp_path / "in"
    out.mkdir()
    for name, image in (("a", cells(1)), ("b", cells(1)[:, ::-1].copy()), ("c", cells(2))):
        pixels.write_png(out / f"{name}.png", image)
    (out / "torn.png").write_bytes((out / "a.png").read_bytes()[:2000])
    return out


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Put a quick stand-in in the place of the pipeline; return the pairs that it was asked for."""
    asked: list[tuple[str, str]] = []

    def compare(a: Path, b: Path, case: Path, settings: Settings) -> Screening:
        asked.append((a.name, b.name))
        (case / "panels").mkdir(parents=True, exist_ok=True)
        panels, inputs = [], []
        for number, path in enumerate((a, b), 1):
            torn = path.name == "torn.png"
            status, reason = ("failed", "the picture is damaged") if torn else ("ok", "")
            inputs.append(InputFile(path=str(path), sha256="0" * 64, kind="png", status=status, reason=reason))
            if not torn:
                image = pixels.read_png(path)
                pixels.write_png(case / "panels" / f"d{number}.png", image)
                source = Origin(path=str(path), sha256="0" * 64)
                panels.append(Panel(id=f"d{number}", figure="f", kind="photo", size=image.shape[:2], source=source))
        box = (0.0, 0.0, 300.0, 240.0)
        found = Finding(
            id="f1", kind="duplicate", a="d1", b="d2", verdict="manipulated", probability=0.97, expected_false=0.01,
            region_a=box, region_b=box, transform=IDENTITY, edits=(Edit(box_a=box, box_b=box, kind="tone"),) * 2,
            classes=Classes(benign=0.04, manipulated=0.95, distinct=0.01),
        )  # fmt: skip
        alike = len(panels) == 2 and "c.png" not in (a.name, b.name)
        return Screening(
            inputs=tuple(inputs), panels=tuple(panels), findings=(found,) if alike else (), seconds=0.1,
            provenance=Provenance(twinscope="0", settings_sha256=settings.sha256()),
        )  # fmt: skip

    monkeypatch.setattr(batch.screen, "compare", compare)
    return asked


MIXED = "a,b,note\na.png,b.png,x\na.png,c.png\n\ntorn.png,b.png\nnone.png,b.png\nc.png,\nb.png,.\n"


def test_every_pair_is_told_and_what_cannot_be_read_stops_nothing(
    run: Run, folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]
) -> None:
    case = tmp_path / "case"
    code, out, err = run("compare", "--batch", str(table(folder / "pairs.csv", MIXED)), "-o", str(case))
    assert (code, err) == (3, "")
    told = rows(case / "pairs.csv")
    assert tuple(told[0]) == index.COLUMNS
    assert [row["status"] for row in told] == ["ok", "ok", "failed", "failed", "failed", "failed"]
    first = {name: told[0][name] for name in ("a", "b", "found", "probability", "verdict", "manipulated", "edits")}
    assert first == {
        "a": "a.png", "b": "b.png", "found": "yes", "probability": "0.97", "verdict": "manipulated",
        "manipulated": "0.95", "edits": "2",
    }  # fmt: skip
    assert (told[1]["found"], told[1]["probability"], told[1]["edits"]) == ("no", "", "")
    assert [row["reason"].rsplit("/", 1)[-1] for row in told[2:]] == [
        "torn.png: the picture is damaged", "none.png does not exist", "line 7 names no b",
        ". is a folder, not a picture",
    ]  # fmt: skip
    assert [row["folder"] for row in told] == [f"{n:04}" for n in range(1, 7)]
    for name in ("report.html", "comparison.png", "findings.csv", "pair.json"):
        assert (case / "0001" / name).is_file()
    assert "problem: 0004: none.png does not exist" in out
    assert pipeline == [("a.png", "b.png"), ("a.png", "c.png"), ("torn.png", "b.png")]


@pytest.mark.parametrize(
    ("name", "why"), [("b\0.png", "embedded null byte"), ("x" * 5000 + ".png", "File name too long")]
)
def test_a_name_that_no_file_can_have_fails_its_own_row(
    name: str, why: str, run: Run, folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]
) -> None:
    case = tmp_path / "case"
    file = table(folder / "pairs.csv", f"a,b\na.png,{name}\n{name},a.png\na.png,c.png\n")
    code, _, err = run("compare", "--batch", str(file), "-o", str(case))
    assert (code, err) == (3, "")
    told = rows(case / "pairs.csv")
    assert [row["status"] for row in told] == ["failed", "failed", "ok"]
    assert [row["reason"] for row in told[:2]] == [
        f"line {place} cannot be opened ({why}); correct its name in the table" for place in ("2: b", "3: a")
    ]
    assert pipeline == [("a.png", "c.png")]
    assert why in (case / "index.html").read_text(encoding="utf-8")


def test_json_prints_the_rows_and_the_gate_stops(
    run: Run, folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]
) -> None:
    file = str(table(folder / "pairs.csv", "b,a\nb.png,a.png\nc.png,a.png\n"))
    code, out, _ = run("compare", "--batch", file, "-o", str(tmp_path / "case"), "--json")
    told = json.loads(out)
    assert code == 0
    assert [(row["a"], row["b"], row["found"]) for row in told] == [("a.png", "b.png", "yes"), ("a.png", "c.png", "no")]
    assert told[0]["probability"] == 0.97
    for gate, wanted in (("0.97", 1), ("0.98", 0)):
        assert run("compare", "--batch", file, "-o", str(tmp_path / "case"), "--fail-above", gate)[0] == wanted


def test_what_is_finished_is_not_compared_again(folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]) -> None:
    case = tmp_path / "case"
    file = table(folder / "pairs.csv", "a,b\na.png,b.png\na.png,c.png\ntorn.png,a.png\n")
    first = batch.compare(file, case, Settings(threads=1))
    assert batch.compare(file, case, Settings(threads=2)) == first
    assert pipeline[3:] == [("torn.png", "a.png")]  # what failed is tried again
    pixels.write_png(folder / "c.png", cells(3))
    batch.compare(file, case, Settings())
    assert pipeline[4:] == [("a.png", "c.png"), ("torn.png", "a.png")]
    batch.compare(file, case, Settings(seed=5))
    assert pipeline[6:] == [("a.png", "b.png"), ("a.png", "c.png"), ("torn.png", "a.png")]
    (case / "0001" / "report.html").unlink()
    batch.compare(file, case, Settings(seed=5))
    assert pipeline[9:] == [("a.png", "b.png"), ("torn.png", "a.png")]


def test_an_interruption_keeps_what_is_done(folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]) -> None:
    case = tmp_path / "case"
    file = table(folder / "pairs.csv", "a,b\na.png,b.png\na.png,c.png\n")

    def stop(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("pairs", 2)
        if done == 1:
            assert [row["status"] for row in rows(case / "pairs.csv")] == ["ok", "waiting"]  # even where it is killed
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.compare(file, case, Settings(), stop)
    assert [row["status"] for row in rows(case / "pairs.csv")] == ["ok", "waiting"]
    assert "1 pair still to come" in (case / "index.html").read_text(encoding="utf-8")
    assert [row["status"] for row in batch.compare(file, case, Settings())] == ["ok", "ok"]
    assert pipeline == [("a.png", "b.png"), ("a.png", "c.png")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column a"),
        (b"a;b\nx.png;y.png\n", "has no column a; its first line must name a and b, with a comma"),
        (b"a,c\nx.png,y.png\n", "has no column b"),
        (b"a,b\n\n,\n", "holds no pair"),
        (b"a,b,a\nx.png,y.png,z.png\n", "has more than one column a; its first line must name each once"),
        (b"a,b, B\nx.png,y.png,z.png\n", "has more than one column b"),
        (b"a,b\n\xe9.png,y.png\n", "cannot be read as a CSV file in UTF-8"),
        (b'a,b\n"x.png,y.png\n', "cannot be read as a CSV file in UTF-8"),
    ],
)
def test_a_bad_table_is_one_sentence_and_nothing_is_written(
    content: bytes, said: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes(content)
    code, out, err = run("compare", "--batch", str(file), "-o", str(tmp_path / "case"))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "case").exists()


def test_nobodys_files_are_overwritten(folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]) -> None:
    file = table(folder / "pairs.csv", "a,b\na.png,b.png\n")
    with pytest.raises(UsageError, match="would be overwritten"):
        batch.compare(file, folder, Settings())
    other = tmp_path / "other"
    other.mkdir()
    table(other / "pairs.csv", "a,b\nmine.png,yours.png\n")
    with pytest.raises(UsageError, match="not of a batch"):
        batch.compare(file, other, Settings())
    with pytest.raises(UsageError, match="is a file"):
        batch.compare(file, file, Settings())
    assert pipeline == []
    assert (other / "pairs.csv").read_text() == "a,b\nmine.png,yours.png\n"


def test_paths_are_relative_to_the_table_or_absolute(
    folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = table(folder / "pairs.csv", f"\ufeffA, B \na.png,{folder / 'b.png'}\n")
    (row,) = batch.compare(file, tmp_path / "case", Settings())
    assert (row["status"], row["found"]) == ("ok", "yes")


def test_what_was_found_beside_a_problem_is_not_lost() -> None:
    source = {name: Origin(path=f"{name}.png", sha256="0" * 64) for name in "ab"}
    panels = tuple(Panel(id=n, figure="f", kind="photo", size=(9, 9), source=o) for n, o in source.items())
    box = (0.0, 0.0, 9.0, 9.0)
    one = Finding(id="f1", kind="duplicate", a="a", b="b", verdict="benign", probability=0.9, expected_false=0.1,
                  region_a=box, region_b=box, transform=IDENTITY)  # fmt: skip
    inside = one.model_copy(update={"id": "f2", "b": "a", "probability": 0.99})
    screening = Screening(
        inputs=(), panels=panels, findings=(inside, one), problems=(Problem(path="a.png", reason="a page failed"),),
        seconds=1, provenance=Provenance(twinscope="0", settings_sha256="0" * 64),
    )  # fmt: skip
    told = batch.outcome(screening, [Path("a.png"), Path("b.png")])
    assert (told["status"], told["reason"]) == ("failed", "a.png: a page failed")
    assert (told["found"], told["probability"]) == ("yes", 0.9)  # not the one inside of a


def test_the_index_links_every_report_runs_nothing_and_shows_names_as_they_are(
    folder: Path, tmp_path: Path, pipeline: list[tuple[str, str]]
) -> None:
    bad = "\"'><script>alert(1)</script>\u202e.png"
    file = folder / "pairs.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("a", "b"), ("a.png", "b.png"), ("a.png", "c.png"), (bad, "b.png")])
    case = tmp_path / "case"
    batch.compare(file, case, Settings())
    text = (case / "index.html").read_text(encoding="utf-8")
    assert "script>alert" not in text.replace("&lt;script&gt;alert", "").replace("&lt;/script", "")
    assert "<script" not in text
    assert "\u202e" not in text
    targets = [one for one in re.findall(r'(?:href|src)="([^"]+)"', text) if not one.startswith("data:")]
    assert targets == ["pairs.csv", "0001/report.html", "0002/report.html"]
    assert all((case / one).is_file() for one in targets)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text
    assert text.count("<img ") == 4
    assert "Same picture, nothing edited: 4\u00a0%; same picture, edited in places: 95\u00a0%" in text
    assert rows(case / "pairs.csv")[2]["status"] == "failed"
    assert index.is_ours(case)


def test_real_pictures_from_end_to_end(run: Run, folder: Path, tmp_path: Path) -> None:
    file = table(folder / "pairs.csv", "a,b\na.png,b.png\na.png,c.png\ntorn.png,b.png\n")
    code, out, _ = run("compare", "--batch", str(file), "-o", str(tmp_path / "case"), "--json", "--threads", "1")
    first, second, third = json.loads(out)
    assert code == 3
    assert (first["status"], first["found"], first["verdict"]) == ("ok", "yes", "benign")
    assert first["probability"] > 0.9
    assert (second["status"], second["found"]) == ("ok", "no")
    assert third["status"] == "failed"
    assert "torn.png" in third["reason"]


def test_a_failed_pair_is_not_linked_to_the_report_of_another(folder: Path, tmp_path: Path) -> None:
    case, settings = tmp_path / "out", Settings(threads=1)
    file = table(folder / "t.csv", "a,b\na.png,b.png\n")
    batch.compare(file, case, settings)
    assert 'href="0001/report.html"' in (case / index.PAGE).read_text()
    table(file, "a,b\nnone.png,b.png\n")
    (row,) = batch.compare(file, case, settings)
    assert row["status"] == "failed"
    assert "report.html" not in (case / index.PAGE).read_text()
    table(file, "a,b\na.png,torn.png\n")
    batch.compare(file, case, settings)
    assert ('href="0001/report.html"' in (case / index.PAGE).read_text()) == (case / "0001/report.html").is_file()
    table(file, "a,b\nnone.png,torn.png\n")
    batch.compare(file, case, settings)
    assert "report.html" not in (case / index.PAGE).read_text()
