"""`twinscope fingerprint audit`: on files, from the command line to the opened report, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from twinscope import aligning, audit, pixels
from twinscope.detect import fingerprint, vectors
from twinscope.errors import UsageError
from twinscope.report import audited
from twinscope.settings import Fingerprint, load
from twinscope.types import Audit

Run = Callable[..., tuple[int, str, str]]
FAST = ("--set", "fingerprint.aligned=0", "--threads", "1")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def picture(rng: np.random.Generator, side: int = 48) -> np.ndarray:
    """Return a drawn field of cells: dark discs on bright ground."""
    image = np.full((side, side), 200, np.float32)
    for _ in range(int(rng.integers(5, 9))):
        at = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(image, at, int(rng.integers(3, 9)), float(rng.uniform(40, 160)), -1)
    return np.asarray(np.clip(cv2.GaussianBlur(image, (0, 0), 1) + rng.normal(0, 3, image.shape), 0, 255), np.uint8)


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(np.clip(image + rng.normal(0, 12, image.shape), 0, 255), np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder: real/ (u.. used, x.. not), copies/ (of the used ones, noisy), others/, and two lists."""
    folder = tmp_path_factory.mktemp("generator")
    rng = np.random.default_rng(0)
    for name in ("real", "copies", "others"):
        (folder / name).mkdir()
    for k in range(12):
        used = picture(rng)
        pixels.write_png(folder / "real" / f"u{k:02}.png", used)
        pixels.write_png(folder / "real" / f"x{k:02}.png", picture(rng))
        for copy in range(3):
            pixels.write_png(folder / "copies" / f"g{k:02}-{copy}.png", noisy(used, rng))
            pixels.write_png(folder / "others" / f"o{k:02}-{copy}.png", picture(rng))
    (folder / "used.txt").write_text("# from the protocol\n\n" + "\n".join(f"u{k:02}.png" for k in range(8)))
    (folder / "unused.txt").write_text("\n".join(f"x{k:02}.png" for k in range(8)) + "\n")
    return folder


def right(told: dict[str, Any]) -> float:
    return float(np.mean([(one["probability"] > 0.5) == ("/u" in one["path"]) for one in told["images"]]))


def test_copies_are_told_and_the_report_is_written(run: Run, made: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    code, out, err = run(
        "fingerprint", "audit", "--real", str(made / "real"), "--generated", str(made / "copies"), "-o", str(case),
        "--json", *FAST,
    )  # fmt: skip
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told == json.loads((case / "audit.json").read_text(encoding="utf-8"))
    assert Audit.model_validate(told).statement.evidence
    assert right(told) >= 0.9
    assert told["statement"]["share_low"] < 0.5 < told["statement"]["share_high"]
    assert told["statement"]["p"] < 1e-4
    for one in told["images"]:
        if one["path"].endswith("u00.png"):
            assert [Path(near["path"]).name[:3] for near in one["near"]] == ["g00"] * 3
            assert one["nearest_to"] == 3
    with (case / "audit.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [one["path"] for one in told["images"]]
    page = (case / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 24 * 4
    assert "24 real pictures" in page
    assert "<script" not in page


def test_what_saw_neither_half_is_left_at_chance(run: Run, made: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "fingerprint", "audit", "--real", str(made / "real"), "--generated", str(made / "others"), "-o",
        str(tmp_path / "case"), "--prior", "0.3", "--json", *FAST,
    )  # fmt: skip
    told = json.loads(out)
    assert code == 0
    assert not told["statement"]["evidence"]
    assert {one["probability"] for one in told["images"]} == {0.3}
    assert told["statement"]["sentences"][0].startswith("No evidence of copies")
    assert "chance" in told["statement"]["sentences"][1]
    page = (tmp_path / "case" / "report.html").read_text(encoding="utf-8")
    assert "used with probability" not in page
    assert page.count("chance: <b>") == 24


def test_known_examples_are_learned_from(run: Run, made: Path, tmp_path: Path) -> None:
    lists = f"{made / 'used.txt'},{made / 'unused.txt'}"
    code, out, _ = run(
        "fingerprint", "audit", "--real", str(made / "real"), "--generated", str(made / "copies"), "--known", lists,
        "-o", str(tmp_path / "case"), *FAST,
    )  # fmt: skip
    assert code == 0
    assert "The 8 pictures known to be used can be told from the 8 known to be unused" in out
    assert "More probably used than not: 12 of 24" in out
    told = json.loads((tmp_path / "case" / "audit.json").read_text(encoding="utf-8"))
    assert right(told) >= 0.9
    assert sorted(one["known"] or "" for one in told["images"]) == [""] * 8 + ["unused"] * 8 + ["used"] * 8
    assert sum(row[2] for row in told["statement"]["learning"]["reliability"]) == 16
    page = (tmp_path / "case" / "report.html").read_text(encoding="utf-8")
    assert "What was learned from" in page


def test_a_turned_part_of_a_picture_is_aligned(made: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    (tmp_path / "real").mkdir()
    (tmp_path / "made").mkdir()
    for k in range(8):
        grain = cv2.GaussianBlur(rng.normal(size=(160, 160)), (0, 0), 2.5)
        image = np.asarray(np.clip(128 + 40 * grain / grain.std(), 0, 255), np.uint8)
        pixels.write_png(tmp_path / "real" / f"r{k}.png", image)
        if k == 0:
            part = np.ascontiguousarray(np.rot90(image[20:140, 10:130]))
            pixels.write_png(tmp_path / "made" / "g.png", noisy(part, rng))
    settings = load(None, {"threads": 1})
    part_of = audit.of_folders(tmp_path / "real", tmp_path / "made")
    found = audit.audit([part_of], tmp_path / "case", settings)
    by_name = {Path(one.path).name: one for one in found.images}
    assert (by_name["r0.png"].near[0].aligned or 0) > 0.9
    assert max(one.near[0].aligned or 0 for name, one in by_name.items() if name != "r0.png") < 0.5


def test_real_pictures_that_are_parts_of_each_other_make_an_alignment_no_news(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
    for k in range(8):
        grain = cv2.GaussianBlur(rng.normal(size=(120, 120)), (0, 0), 2.5)
        image = np.asarray(np.clip(128 + 40 * grain / grain.std(), 0, 255), np.uint8)
        pixels.write_png(tmp_path / "real" / f"r{k}.png", image)
        if k < 4:
            pixels.write_png(tmp_path / "real" / f"r{k}-again.png", noisy(image, rng))
        if k in (0, 7):
            pixels.write_png(tmp_path / "made" / f"g{k}.png", noisy(image, rng))
    settings = load(None, {"threads": 1})
    part = audit.of_folders(tmp_path / "real", tmp_path / "made")
    seen, _ = audit._look(part, tmp_path / "kept.jsonl", settings, lambda *_: None)
    sets = seen.real, seen.made
    distances = (
        seen.apart,
        seen.far,
        fingerprint.pixel_distances(seen.real.small, seen.real.small, settings.fingerprint),
    )
    found, chance = aligning.aligned(part.real, part.made, sets, distances, settings, lambda *_: None)
    place = {Path(name).stem: k for k, name in enumerate(seen.real.names)}
    assert max(found[place["r0"]].values()) > 0.9
    assert max(found[place["r7"]].values()) > 0.9
    assert chance[place["r7"]] >= 3 / 13  # of twelve real pictures eight align as well with another real one
    assert chance[place["r3"]] == 1  # nothing of it was generated


def test_a_second_run_embeds_nothing_again(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(None, {"threads": 1, "fingerprint": {"aligned": 0}})
    part = audit.of_folders(made / "real", made / "copies")
    first = audit.audit([part], tmp_path / "case", settings)

    def nothing(looked: list[Any], *_: object) -> list[Any]:
        assert all(one.small is None for one in looked), "embedded again"
        return looked

    monkeypatch.setattr(vectors, "_embedded", nothing)
    again = audit.audit([part], tmp_path / "case", settings)
    assert again.images == first.images
    assert again.statement == first.statement


def test_the_same_input_gives_the_same_answer(made: Path, tmp_path: Path) -> None:
    settings = load(None, {"threads": 1, "fingerprint": {"aligned": 0}})
    lists = made / "used.txt", made / "unused.txt"
    part = audit.of_folders(made / "real", made / "copies", lists)
    one, two = (audit.audit([part], tmp_path / name, settings) for name in ("a", "b"))
    assert one.model_copy(update={"seconds": 0.0}) == two.model_copy(update={"seconds": 0.0})


# --- what is wrong with the input ---------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_told_and_the_rest_is_done(run: Run, made: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    shutil.copytree(made / "real", real)
    (real / "broken.png").write_bytes((real / "u00.png").read_bytes()[:200])
    (real / "=cmd|x.png").write_text("not a picture")
    shutil.copy(real / "u01.png", real / "zz-copy.png")
    code, out, _ = run(
        "fingerprint", "audit", "--real", str(real), "--generated", str(made / "copies"), "-o", str(tmp_path / "case"),
        "--json", *FAST,
    )  # fmt: skip
    told = json.loads(out)
    assert code == 3
    assert told["real"] == 24
    found = {Path(one["path"]).name: (one["status"], one["reason"]) for one in told["problems"]}
    assert found["broken.png"][0] == "failed"
    assert found["=cmd|x.png"][0] == "refused"
    assert found["zz-copy.png"][0] == "refused"
    assert "u01.png, byte for byte" in found["zz-copy.png"][1]
    assert "3 files were not taken in full" in (tmp_path / "case" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--real", "REAL"), "name both folders"),
        (("--real", "REAL", "--generated", "nowhere"), "nowhere does not exist"),
        (("--real", "REAL", "--generated", "REAL"), "is in both folders"),
        (("--real", "REAL", "--generated", "MADE", "--known", "used.txt"), "not of the form used.txt,unused.txt"),
        (("--real", "REAL", "--generated", "MADE", "--known", "USED,gone.txt"), "gone.txt does not exist"),
        (("--real", "REAL", "--generated", "MADE", "--known", "USED,USED"), "is named as used and as unused"),
        (("--real", "REAL", "--generated", "MADE", "--known", "STRANGE,USED"), "which is not below"),
        (("--real", "REAL", "--generated", "MADE", "--known", "FEW,UNUSED"), "1 known used pictures are too few"),
        (("--real", "REAL", "--generated", "EMPTY"), "24 real and 0 generated pictures could be read"),
        (("--real", "REAL", "--generated", "MADE", "--prior", "1.5"), "fingerprint.prior"),
        (("--imageclef", "REAL", "--real", "REAL"), "--imageclef stands alone"),
        (("--imageclef", "REAL"), "holds no folder generated"),
    ],
)
def test_wrong_use_is_one_sentence(run: Run, made: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "strange.txt").write_text("../../etc/passwd\n")
    (tmp_path / "few.txt").write_text("u00.png\n")
    names = {"REAL": made / "real", "MADE": made / "copies", "USED": made / "used.txt", "UNUSED": made / "unused.txt",
             "STRANGE": tmp_path / "strange.txt", "FEW": tmp_path / "few.txt", "EMPTY": tmp_path / "empty"}  # fmt: skip
    given = [",".join(str(names.get(part, part)) for part in one.split(",")) for one in options]
    code, out, err = run("fingerprint", "audit", *given, "-o", str(tmp_path / "case"), *FAST)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_of_somebody_else_is_not_written_to(run: Run, made: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    given = ("--real", str(made / "real"), "--generated", str(made / "copies"))
    code, _, err = run("fingerprint", "audit", *given, "-o", str(tmp_path), *FAST)
    assert code == 2
    assert "holds files that are not of an audit" in err


# --- the layout of the task ---------------------------------------------------------------------------------------


def task(folder: Path, made: Path, names: dict[str, str]) -> Path:
    """Write folders of the task: name -> which pictures ("u", "x", "ux" of real/, or a folder of generated ones)."""
    for name, what in names.items():
        place = folder / name
        place.mkdir(parents=True)
        source = made / (what if (made / what).is_dir() else "real")
        for path in sorted(source.iterdir()):
            if source.name != "real" or path.name[0] in what:
                shutil.copy(path, place / path.name)
    return folder


def test_the_layout_of_the_task_is_read(run: Run, made: Path, tmp_path: Path) -> None:
    where = task(tmp_path / "t", made, {
        "development/generated": "copies", "development/real_used": "u", "development/real_not_used": "x",
        "test/generated": "copies", "test/real_unknown": "ux",
    })  # fmt: skip
    parts = audit.of_imageclef(where)
    assert [(len(one.real), len(one.made), sum(one.known.values()), len(one.known)) for one in parts] == [
        (24, 36, 12, 24), (24, 36, 0, 0)]  # fmt: skip
    code, out, _ = run("fingerprint", "audit", "--imageclef", str(where), "-o", str(tmp_path / "case"), "--json", *FAST)
    told = json.loads(out)
    assert code == 0
    unknown = [one for one in told["images"] if one["known"] is None]
    assert len(unknown) == 24
    assert np.mean([(one["probability"] > 0.5) == ("/u" in one["path"]) for one in unknown]) >= 0.9


def test_one_part_of_the_task_under_other_names_is_read(made: Path, tmp_path: Path) -> None:
    where = task(tmp_path / "t", made, {"synthetic": "copies", "used": "u", "unused": "x"})
    (part,) = audit.of_imageclef(where)
    assert (len(part.real), len(part.made), sum(part.known.values())) == (24, 36, 12)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"real_used": "u", "real_not_used": "x"}, "holds no folder generated"),
        ({"generated": "copies"}, "holds generated pictures and no real ones"),
        ({"generated": "copies", "real_used": "u"}, "holds real_used and no real_not_used"),
        ({"generated": "copies", "real_not_used": "x"}, "holds real_not_used and no real_used"),
    ],
)
def test_a_broken_layout_is_said_to_be(made: Path, tmp_path: Path, names: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        audit.of_imageclef(task(tmp_path / "t", made, names))


def test_an_empty_folder_of_the_task_is_said_to_be(made: Path, tmp_path: Path) -> None:
    where = task(tmp_path / "t", made, {"generated": "copies", "real_used": "u", "real_not_used": "none"})
    with pytest.raises(UsageError, match=r"known unused pictures are too few|could be read"):
        audit.audit(audit.of_imageclef(where), tmp_path / "case", load(None, {"threads": 1}))


# --- the report in a browser --------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_report_opens_without_a_request_and_hostile_names_do_nothing(made: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    real = tmp_path / "real"
    shutil.copytree(made / "real", real)
    hostile = "<img src=x onerror=window.hit=1>\u202e.png"
    shutil.move(real / "u00.png", real / hostile)
    (real / "<script>window.hit=2<.png").write_text("no picture")
    settings = load(None, {"threads": 1, "fingerprint": {"aligned": 0}})
    part = audit.of_folders(real, made / "copies", None)
    found = audit.audit([part], tmp_path / "case", settings)
    page_path = audited.write(found, tmp_path / "case", audit.opener([part], settings), 10)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": 420, "height": 800})
        asked: list[str] = []
        heard: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.goto(page_path.as_uri())
        assert page.evaluate("window.hit") is None
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert heard == []
        assert page.locator(".audited > li").count() == 10
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        assert page.evaluate("[...document.images].every(i => i.alt)")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        broken = page.evaluate(
            "[...document.querySelectorAll('a')].filter(a => !document.querySelector(a.hash)).length"
        )
        assert broken == 0
        browser.close()


def test_a_picture_that_went_away_is_named_in_its_place(made: Path, tmp_path: Path) -> None:
    settings = load(None, {"threads": 1, "fingerprint": {"aligned": 0}})
    part = audit.of_folders(made / "real", made / "copies")
    found = audit.audit([part], tmp_path, settings)
    page = audited.render(found, lambda path: None, 3)
    assert page.count("The picture can no longer be read.") == 3 * 4
    assert "21 more pictures in audit.csv" in page


def test_many_pictures_take_a_few_seconds() -> None:
    rng = np.random.default_rng(1)
    began = time.monotonic()
    fingerprint.pixel_distances(
        rng.random((100, 32, 32), np.float32), rng.random((2000, 32, 32), np.float32), Fingerprint()
    )
    assert time.monotonic() - began < 15
