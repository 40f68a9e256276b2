"""Earlier papers in a library: what stands again in a new one is found there, told as it stands, and screened for."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from tests.detect.scenes import byte, cells, real, scene

from twinscope import corpus, pixels, screen
from twinscope import manipulate as m
from twinscope.detect import embed, judge
from twinscope.detect.align import Alignment
from twinscope.detect.judge import Judged
from twinscope.errors import UsageError
from twinscope.ingest import files
from twinscope.library import parts, store
from twinscope.library.table import acknowledge
from twinscope.report import html, terminal
from twinscope.settings import Settings, Shelf
from twinscope.types import Searched

Run = Callable[..., tuple[int, str, str]]
SETTINGS = Settings()


def written(folder: Path, **pictures: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library of eight pictures, one of them larger than what is kept of it, in two adds."""
    base = tmp_path_factory.mktemp("library")
    many = written(base / "papers", **{f"scene{k}": scene(k) for k in range(6)}, large=scene(40, (480, 640)))
    (base / "titles.csv").write_text("file,title\nscene3.png,On scenes\n")
    uri = str(base / "library")
    added = corpus.add([many], uri, SETTINGS, titles=base / "titles.csv")
    assert (added.documents, added.known, added.panels, added.vectors) == (7, 0, 7, 42)
    written(many, dark=cells(50))
    added = corpus.add([many], uri, SETTINGS)
    assert (added.documents, added.known, added.panels, added.vectors) == (1, 7, 1, 6)
    return uri


def test_the_next_is_worked_on_while_one_is_used() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(item: int) -> int:
        if item == 1:
            begun.set()
            assert may_end.wait(20)
        return 10 * item

    with ThreadPoolExecutor(1) as pool:
        results = corpus._one_ahead(pool, work, range(3))
        assert next(results) == 0
        assert begun.wait(20)  # before anybody asks for it
        may_end.set()
        assert list(results) == [10, 20]
        assert list(corpus._one_ahead(pool, work, [])) == []


def test_a_failing_write_ends_the_reading_at_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "papers", **{f"scene{k:02d}": scene(k) for k in range(3 * corpus.AT_ONCE)})
    sources = files.expand([folder])[0]
    claimed: list[str] = []

    def claim(names: Sequence[str]) -> dict[str, int]:
        claimed.extend(names)
        return dict.fromkeys(names, 0)

    def write(rows: pa.Table) -> int:
        raise OSError("the disk is full")

    shelf = SETTINGS.library.model_copy(update={"batch": 1})
    with pytest.raises(OSError, match="the disk is full"):
        corpus.take_in(sources, claim, write, SETTINGS.model_copy(update={"library": shelf}), {})
    assert len(claimed) == 2 * corpus.AT_ONCE  # the first group, and the next, which was under way


def test_a_picture_is_kept_small_and_told_as_it_stands(library: str) -> None:
    opened = store.open_library(library)
    rows = {row["file"].rpartition("/")[2]: row for row in
            opened.table.search().where("crop = 0").limit(100).to_arrow().to_pylist()}  # fmt: skip
    assert opened.table.count_rows("crop > 0 AND picture IS NULL") == 40
    large = rows["large.png"]
    assert (large["height"], large["width"], large["model"], large["page"]) == (480, 640, embed.MODEL, None)
    assert pixels.decoded(large["picture"]).shape[:2] == (300, 400)
    assert np.abs(pixels.decoded(rows["scene2.png"]["picture"]).astype(float) - scene(2)).mean() < 3
    assert [rows[name]["title"] for name in ("scene3.png", "scene4.png")] == ["On scenes", ""]
    assert np.asarray(large["vector"], np.float32) == pytest.approx(embed.embed([scene(40, (480, 640))])[0], abs=1e-4)


def test_the_same_bytes_are_held_once_under_any_name(library: str, tmp_path: Path) -> None:
    copies = written(tmp_path / "copies", again=scene(2), twice=scene(60), thrice=scene(60))
    uri = str(tmp_path / "library")
    assert corpus.add([copies], uri, SETTINGS).documents == 2
    added = corpus.add([copies], uri, SETTINGS)
    assert (added.documents, added.known, added.vectors) == (0, 3, 0)
    assert store.verify(store.open_library(uri)) == []


@pytest.mark.parametrize(
    ("query", "file"),
    [
        (lambda: scene(2)[:, ::-1], "scene2.png"),
        (lambda: byte(m.rotate(real(scene(4)), np.random.default_rng(0), 90).image), "scene4.png"),
        (lambda: scene(5)[60:210, 90:280], "scene5.png"),
        (lambda: cv2.resize(scene(40, (480, 640)), (320, 240), interpolation=cv2.INTER_AREA), "large.png"),
    ],
)
def test_a_worn_or_cut_copy_is_found_first(library: str, query: Callable[[], np.ndarray], file: str) -> None:
    (hits,) = corpus.search([np.ascontiguousarray(query())], store.open_library(library), SETTINGS)
    assert hits[0].row["file"].endswith(file)
    assert hits[0].probability > 0.9
    assert all(hit.probability < 0.5 for hit in hits[1:])
    assert len({hit.row["document"] for hit in hits}) == 8
    assert [hit.distance for hit in hits[1:]] == sorted(hit.distance for hit in hits[1:])


def test_parts_count_as_further_by_hand() -> None:
    def hit(name: str, distance: float, crop: int) -> store.Hit:
        return store.Hit(distance, {"document": name, "panel": "f1-1", "crop": crop})

    found = [
        (0, hit("whole", 0.6, 0)), (0, hit("part of it", 0.52, 2)), (3, hit("it is part", 0.53, 0)),
        (4, hit("parts", 0.25, 1)), (4, hit("both", 0.2, 5)), (0, hit("both", 0.45, 0)), (1, hit("twins", 0.5, 1)),
    ]  # fmt: skip
    shelf = Shelf(one_part=0.1, two_parts=0.3)  # both .45, parts .55, whole .6, part of it .62, it is part .63

    def names(k: int) -> list[str]:
        return [one.row["document"] for one in parts.shortlist(found, k, shelf)]

    assert [names(k) for k in (1, 2, 3, 4, 5)] == [
        ["both"], ["both", "parts"], ["both", "parts", "whole"], ["both", "parts", "part of it", "whole"],
        ["both", "parts", "part of it", "it is part", "whole"],
    ]  # fmt: skip
    assert names(9)[2] == "twins"
    assert [one.distance for one in parts.shortlist(found, 2, shelf)] == [0.2, 0.25]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_near_panels_are_those_of_a_plain_search(library: str, k: int) -> None:
    opened = store.open_library(library)
    rows = opened.table.to_arrow().to_pylist()
    query = byte(m.gaussian_blur(real(scene(3)), np.random.default_rng(0), 5).image)
    own = embed.embed([parts.cropped(query, box) for box in parts.windows(query.shape[:2], SETTINGS.library)])
    far = embed.distances(own, np.array([row["vector"] for row in rows]))
    nearest: dict[str, float] = {}
    counted: dict[str, float] = {}
    for number, line in enumerate(far):
        for at in np.argsort(line)[: 6 * k]:
            name = rows[at]["file"]
            more = [0, 0.1, 0.3][int(number > 0) + int(rows[at]["crop"] > 0)]
            nearest[name] = min(nearest.get(name, np.inf), float(line[at]))
            counted[name] = min(counted.get(name, np.inf), float(line[at]) + more)
    first = sorted(counted, key=counted.__getitem__)[:k]
    (hits,) = corpus.nearest(opened, [query], k, SETTINGS)
    assert {hit.row["file"] for hit in hits} == set(first)
    assert [hit.distance for hit in hits] == pytest.approx(sorted(nearest[name] for name in first), abs=1e-3)


def test_the_sure_and_the_equal_are_ranked_by_distance() -> None:
    none = np.zeros((0, 2))
    alignment = Alignment(np.eye(3), False, 0, none, none)
    given = [(0.45, 0.97), (0.2, 0.0), (0.5, 0.999), (0.4, 0.6), (0.3, 0.601), (0.1, 0.94), (0.6, 0.0)]
    hits = [corpus.Hit(far, {}, Judged(0, 0, alignment, {}, p) if p else None) for far, p in given]
    assert [hit.distance for hit in corpus.ranked(hits)] == [0.45, 0.5, 0.1, 0.3, 0.4, 0.2, 0.6]


def test_a_picture_that_is_not_there_is_not_found(library: str) -> None:
    found = corpus.search([scene(77), cells(78)], store.open_library(library), SETTINGS)
    assert [max(hit.probability for hit in hits) < 0.5 for hits in found] == [True, True]


def test_parts_of_a_panel_have_vectors_of_their_own() -> None:
    boxes = parts.windows((100, 200), Shelf())
    assert boxes[0] == (0, 0, 200, 100)
    assert boxes[1:] == [(0, 0, 120, 60), (80, 0, 200, 60), (0, 40, 120, 100), (80, 40, 200, 100), (40, 20, 160, 80)]
    assert len(parts.windows((30, 200), Shelf())) == 1
    assert len(parts.windows((100, 200), Shelf(crops=False))) == 1


def test_a_screening_points_to_the_earlier_paper(library: str, tmp_path: Path) -> None:
    large = byte(real(scene(40, (480, 640))) * 0.7 + 0.1)[:, ::-1]
    new = written(tmp_path / "new", a=np.ascontiguousarray(large), b=scene(90), c=scene(3))
    told = screen.screen([new], tmp_path / "case", SETTINGS, library=library)
    panels = {panel.id: panel for panel in told.panels}
    found = {(Path(panels[f.a].source.path).name, Path(panels[f.b].source.path).name): f for f in told.findings}
    assert set(found) == {("a.png", "large.png")}  # c.png is the same file as scene3.png: the paper itself
    finding = found["a.png", "large.png"]
    earlier = panels[finding.b].earlier
    assert earlier is not None
    assert (earlier.library, earlier.size) == (library, (480, 640))
    assert panels[finding.b].size == (300, 400)
    assert (tmp_path / "case" / "panels" / f"{finding.b}.png").is_file()
    assert pixels.read_png(tmp_path / "case" / str(finding.heatmap_b)).shape == (300, 400)
    assert finding.probability > 0.9
    compared = 3 + 3 * 7  # within the manuscript, and with all of the library but the paper itself
    assert finding.expected_false == pytest.approx(judge.expected_false(finding.probability, compared), abs=1e-6)
    assert finding.steps[0] == "mirrored left-right"
    assert not any("scaled" in step for step in finding.steps)  # what is kept is smaller, what was published is not
    matrix = np.array(finding.transform)
    assert matrix @ [0, 0, 1] == pytest.approx([400, 0, 1], abs=2)
    assert [panel.earlier for panel in told.panels if panel.id not in (f.b for f in told.findings)] == [None] * 3


def test_a_screening_says_what_library_it_was_compared_with(library: str, tmp_path: Path) -> None:
    new = written(tmp_path / "new", a=byte(real(scene(40, (480, 640))) * 0.7 + 0.1), b=scene(90))
    told = screen.screen([new], tmp_path / "case", SETTINGS, library=library)
    version = store.open_library(library).table.version
    assert told.provenance.library == Searched(library=library, version=version, panels=8)
    assert len(told.panels) == 3  # two, and the earlier one
    page = html.render(told, tmp_path / "case")
    assert f"within these files and with the 8 panels of the library {library}, not with other papers" in page
    assert "<dd>2 <small>of 2</small></dd>" in page
    assert "2 panels (2 compared as pictures), 1 finding" in terminal.summary(told, tmp_path / "report.html")[0]
    alone = screen.screen([new], tmp_path / "alone", SETTINGS)
    assert alone.provenance.library is None
    assert "within these files, not with other papers" in html.render(alone, tmp_path / "alone")


def test_vectors_of_an_older_network_are_not_found_until_they_are_renewed(
    library: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "library")
    with store.writing(uri) as opened:
        rows = store.open_library(library).table.search().limit(100).to_arrow().select(store.SCHEMA.names)
        at = rows.schema.get_field_index("model")
        store.add(opened, rows.set_column(at, store.SCHEMA.field("model"), pa.array(["embedder-old"] * len(rows))))
    assert corpus.search([scene(2)], store.open_library(uri), SETTINGS) == [[]]
    said = (f"its panels with vectors of another network were not searched (8 of 8); "
            f"run `twinscope library reembed --library {uri}`")  # fmt: skip
    code, _, err = run("library", "search", str(written(tmp_path / "two", two=scene(2)) / "two.png"), "--library", uri)
    assert (code, said in err) == (3, True)
    told = screen.screen([tmp_path / "two"], tmp_path / "case", SETTINGS, library=uri)
    assert [(one.path, one.reason) for one in told.problems] == [(uri, said)]
    assert told.provenance.library is not None
    assert told.provenance.library.panels == 0
    with store.writing(uri) as opened:  # a document that was added anew under the new network is searched
        again = rows.filter(pa.compute.equal(rows["document"], rows["document"][0]))
        store.add(opened, again)
    assert store.panels(store.open_library(uri), embed.MODEL) == (1, 7)
    refreshed = []
    with monkeypatch.context() as context:
        context.setattr(store, "refresh", lambda opened, shelf: refreshed.append((store.info(opened)["models"], shelf)))
        assert corpus.reembed(uri, SETTINGS) == 8
    assert refreshed == [({embed.MODEL: 48}, SETTINGS.library)]  # an index is of the vectors that are there now
    opened = store.open_library(uri)
    assert store.info(opened)["models"] == {embed.MODEL: 48}
    (hits,) = corpus.search([scene(2)], opened, SETTINGS)
    assert hits[0].row["file"].endswith("scene2.png")
    assert (hits[0].probability > 0.9, hits[0].distance < 0.2) == (True, True)
    assert corpus.reembed(uri, SETTINGS) == 0
    assert store.verify(opened) == []


# ---------------------------------------------------------------------------------------------------- the commands


def test_the_commands_as_a_newcomer_uses_them(run: Run, tmp_path: Path) -> None:
    papers = written(tmp_path / "papers", one=scene(1), two=scene(2))
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    place = str(tmp_path / "library")
    code, out, err = run("library", "add", str(papers), "--library", place)
    assert (code, "2 documents added" in out, "with 2 panels" in out, "broken.pdf" in err) == (3, True, True, True)
    code, out, _ = run("library", "add", str(papers / "one.png"), "--library", place)
    assert (code, "0 documents added" in out, "1 were there already" in out) == (0, True, True)
    query = written(tmp_path / "query", q=np.ascontiguousarray(scene(2)[::-1])) / "q.png"
    code, out, _ = run("library", "search", str(query), "--library", place)
    lines = out.splitlines()
    assert (code, "two.png" in lines[1], lines[1].split()[0] > "90", "one.png" in lines[2]) == (0, True, True, True)
    code, out, _ = run("library", "search", str(query), "--library", place, "--top", "1", "--json")
    (panel,) = json.loads(out)["panels"]
    assert [Path(hit["file"]).name for hit in panel["hits"]] == ["two.png"]
    code, out, _ = run("library", "info", "--library", place, "--documents")
    assert (code, "2 documents, 2 panels, 12 vectors" in out, "searched exactly" in out) == (0, True, True)
    assert run("library", "remove", "two.png", "--library", place)[0] == 0
    assert "two.png" not in run("library", "search", str(query), "--library", place)[1]
    assert run("library", "compact", "--library", place)[0] == 0
    code, out, _ = run("library", "verify", "--library", place)
    assert (code, out.strip()) == (0, f"{place} is whole")
    code, out, _ = run("library", "export", "--library", place, "-o", str(tmp_path / "all.parquet"))
    assert (code, (tmp_path / "all.parquet").is_file(), "6 vectors" in out) == (0, True, True)
    code, out, _ = run("library", "reembed", "--library", place, "--json")
    assert (code, json.loads(out)) == (0, {"library": place, "panels": 0, "mended": []})
    data = next((tmp_path / "library").glob("panels.lance/data/*"))
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    code, out, _ = run("library", "verify", "--library", place)
    assert (code, "is absent or not what it was" in out) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("info", "--library", "{tmp}/none"), "is no library; make one with `twinscope library add"),
        (("search", "{tmp}/none.png", "--library", "{tmp}/none"), "none.png does not exist"),
        (("search", "{tmp}", "--library", "{tmp}/none"), "is a folder; `search` takes a picture or a paper"),
        (("add", "{tmp}/a.png", "--library", "{tmp}"), "holds files that are not of a library"),
        (("add", "{tmp}/a.png", "--library", "{tmp}/new", "--titles", "{tmp}/t.csv"), "must name file and title"),
        (("compact", "--library", "{tmp}/none"), "is no library"),
        (("remove", "a.png", "--library", "{tmp}/none"), "is no library"),
    ],
)
def test_wrong_use_is_said_and_makes_nothing(run: Run, tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    written(tmp_path, a=scene(1))
    (tmp_path / "t.csv").write_text("name,title\n")
    code, _, err = run("library", *(text.format(tmp=tmp_path) for text in arguments))
    assert (code, why in err) == (2, True), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "t.csv"]


def test_a_screening_with_a_library_that_is_not_there_reads_nothing(run: Run, tmp_path: Path) -> None:
    written(tmp_path, a=scene(1), b=scene(2))
    place = tmp_path / "none"
    code, out, err = run("screen", str(tmp_path), "--library", str(place), "-o", str(tmp_path / "case"))
    assert (code, out) == (2, "")
    assert f"{place} is no library; make one with `twinscope library add" in err
    assert "reading" not in err, "not one document is read before it is said"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_picture_whose_name_is_not_utf8_is_kept_and_found(run: Run, tmp_path: Path) -> None:
    written(tmp_path, a=scene(1))
    raw, place = Path(os.fsdecode(bytes(tmp_path) + b"/M\xfcller.png")), str(tmp_path / "library")
    (tmp_path / "a.png").rename(raw)
    code, out, _ = run("library", "add", str(raw), "--library", place)
    assert (code, "1 documents added" in out) == (0, True)
    code, out, _ = run("library", "info", "--documents", "--library", place)
    assert (code, "M%FCller.png" in out) == (0, True)


def test_a_document_is_named_by_its_file_or_its_hash(run: Run, tmp_path: Path) -> None:
    place = str(tmp_path / "library")
    written(tmp_path / "first", one=scene(1))
    written(tmp_path / "second", one=scene(2))
    run("library", "add", str(tmp_path / "first"), str(tmp_path / "second"), "--library", place)
    code, _, err = run("library", "remove", "one.png", "--library", place)
    assert (code, "one.png stands for 2 documents" in err) == (2, True)
    code, _, err = run("library", "remove", "none.png", "--library", place)
    assert (code, "none.png is not there" in err) == (2, True)
    held = store.documents(store.open_library(place))
    assert run("library", "remove", held[0]["document"][:8], "--library", place)[0] == 0
    assert store.documents(store.open_library(place)) == [held[1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\nx\n", "titles.csv has no column file; its first line must name file and title, with a comma between"),
        ("file;title\nx;y\n", "titles.csv has no column file"),
        ("file,title,Title\nx,y,z\n", "titles.csv has more than one column title"),
        ('file,title\n"x,y\n', "titles.csv cannot be read as a CSV file in UTF-8"),
    ],
)
def test_a_bad_table_of_titles_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "titles.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        corpus.add([], str(tmp_path / "library"), SETTINGS, titles=tmp_path / "titles.csv")
    assert not (tmp_path / "library").exists()


def test_equal_pictures_of_an_archive_are_one_document(tmp_path: Path) -> None:
    folder = written(tmp_path / "pictures", a=scene(1), b=scene(1), c=scene(2))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    uri = str(tmp_path / "library")
    added = corpus.add([tmp_path / "all.zip"], uri, SETTINGS)
    assert (added.documents, added.panels, added.vectors) == (2, 2, 12)
    assert store.verify(store.open_library(uri)) == []
    assert [one["file"].rpartition("/")[2] for one in store.documents(store.open_library(uri))] == ["a.png", "c.png"]
    added = corpus.add([tmp_path / "all.zip"], uri, SETTINGS)
    assert (added.documents, added.known, added.vectors) == (0, 3, 0)


def test_a_paper_that_was_added_again_under_the_new_network_is_not_doubled(library: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "library")
    rows = store.open_library(library).table.search().limit(100).to_arrow().select(store.SCHEMA.names)
    at = rows.schema.get_field_index("model")
    with store.writing(uri) as opened:
        store.add(opened, rows.set_column(at, store.SCHEMA.field("model"), pa.array(["embedder-old"] * len(rows))))
        store.add(opened, rows)
    assert corpus.reembed(uri, SETTINGS) == 8
    opened = store.open_library(uri)
    assert (store.info(opened)["models"], store.verify(opened)) == ({embed.MODEL: 48}, [])


def test_panels_of_two_older_networks_are_renewed_once(library: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "library")
    rows = store.open_library(library).table.search().limit(100).to_arrow().select(store.SCHEMA.names)
    at = rows.schema.get_field_index("model")
    for old in ("embedder-old", "embedder-older"):
        with store.writing(uri) as opened:
            store.add(opened, rows.set_column(at, store.SCHEMA.field("model"), pa.array([old] * len(rows))))
    assert corpus.reembed(uri, SETTINGS) == 8
    opened = store.open_library(uri)
    assert (store.info(opened)["models"], store.verify(opened)) == ({embed.MODEL: 48}, [])


# ---------------------------------------------------------------------------------------------------- read in part


def paper(path: Path, *pictures: np.ndarray) -> Path:
    """Write a PDF with a picture a page."""
    canvas = Canvas(str(path), invariant=1)
    for image in pictures:
        canvas.drawImage(ImageReader(Image.fromarray(image)), 100, 400, image.shape[1], image.shape[0])
        canvas.showPage()
    canvas.save()
    return path


def test_a_document_that_was_read_in_part_is_read_again_and_replaced(run: Run, tmp_path: Path) -> None:
    path, place = paper(tmp_path / "three.pdf", *(scene(k) for k in range(3))), str(tmp_path / "library")
    command = ("library", "add", str(path), "--library", place)
    code, out, err = run(*command, "--set", "ingest.limits.images=1")
    assert (code, "1 documents added" in out, "with 1 panels" in out, "more than 1 pictures" in err) == (3, *[True] * 3)
    code, out, err = run(*command, "--set", "ingest.limits.images=1")
    assert (code, "0 documents added" in out, "1 were there already" in out) == (3, True, True)
    assert "more than 1 pictures" in err  # it is said as often as it is so
    opened = store.open_library(place)
    assert (store.info(opened)["vectors"], store.info(opened)["partial"]) == (6, 1)
    assert "1 documents were read only in part" in run("library", "info", "--library", place)[1]
    code, out, _ = run(*command, "--set", "ingest.limits.images=2")
    assert (code, "1 are read better than before" in out) == (3, True)
    code, out, err = run(*command, "--json")
    told = json.loads(out)
    assert (code, told["documents"], told["again"], told["panels"], told["problems"]) == (0, 0, 1, 3, [])
    opened = store.open_library(place)
    assert (store.info(opened)["vectors"], store.info(opened)["partial"], store.verify(opened)) == (18, 0, [])
    assert {row["page"] for row in opened.table.search().limit(99).to_arrow().to_pylist()} == {1, 2, 3}
    code, out, _ = run(*command)
    assert (code, "1 were there already" in out) == (0, True)


def test_a_document_without_pictures_is_not_told_as_added(run: Run, tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "words.pdf"))
    canvas.drawString(100, 400, "Nothing but words.")
    canvas.save()
    for _ in range(2):
        code, out, _ = run("library", "add", str(tmp_path / "words.pdf"), "--library", str(tmp_path / "library"))
        assert (code, "0 documents added" in out, "1 hold no picture panel" in out) == (0, True, True)


# ---------------------------------------------------------------------------------------------------- odd inputs


def test_a_manuscript_that_stands_in_the_library_hides_none_of_its_panels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = pixels.jpeg(np.zeros((80, 90), np.uint8), 90)
    query = np.eye(1, store.DIMENSIONS, dtype=np.float32)[0]
    known = {"box_px": [0, 0, 90, 80], "model": embed.MODEL, "title": "", "file": "a.png", "kind": "micrograph",
             "height": 80, "width": 90, "picture": picture, "figure": "", "label": "", "caption": "",
             "crop": 0}  # fmt: skip
    rows = []
    for document, first, count in (("it's own", 0.0, 24), ("other", 0.6, 30)):
        for number in range(count):
            vector = query.copy()
            vector[1] = first + 0.01 * number
            rows.append({**known, "document": document, "panel": f"f1-{number:02d}", "vector": vector})
    with store.writing(str(tmp_path / "library")) as opened:
        store.add(opened, pa.Table.from_pylist(rows, schema=store.SCHEMA))
    monkeypatch.setattr(embed, "embed", lambda images, *_: np.stack([query] * len(images)))
    opened = store.open_library(str(tmp_path / "library"))
    for asked in (1, 3):  # one picture takes another way than many
        near = corpus.nearby([np.zeros((20, 20), np.uint8)] * asked, opened, 10, SETTINGS, ["it's own"])
        assert [len(pairs) for pairs in near.pairs] == [10] * asked
        assert sorted((row["document"], row["panel"]) for row in near.rows) == [
            ("other", f"f1-{k:02d}") for k in range(10)
        ]


def test_a_table_of_titles_that_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    papers = written(tmp_path / "papers", a=scene(1))
    (tmp_path / "latin.csv").write_bytes("file,title\na.png,Zellen fürs Leben\n".encode("latin-1"))
    for titles in ("latin.csv", "papers"):
        code, _, err = run("library", "add", str(papers), "--library", str(tmp_path / "library"), "--titles",
                           str(tmp_path / titles))  # fmt: skip
        assert (code, f"{titles} cannot be read as a CSV file in UTF-8" in err) == (2, True), err
    assert not (tmp_path / "library").exists()


def test_a_row_without_a_title_is_a_document_without_one(tmp_path: Path) -> None:
    papers, uri = written(tmp_path / "papers", a=scene(1)), str(tmp_path / "library")
    (tmp_path / "titles.csv").write_text("file,title\na.png\n")
    corpus.add([papers], uri, SETTINGS, titles=tmp_path / "titles.csv")
    assert [one["title"] for one in store.documents(store.open_library(uri))] == [""]
    with store.writing(uri) as opened:  # as an older version wrote it
        opened.table.update(values={"title": None})
        acknowledge(opened)
    new = written(tmp_path / "new", b=np.ascontiguousarray(scene(1)[:, ::-1]))
    told = screen.screen([new], tmp_path / "case", SETTINGS, library=uri)
    assert [panel.earlier.title for panel in told.panels if panel.earlier] == [""]


def test_a_file_name_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    papers, place = tmp_path / "papers", str(tmp_path / "library")
    papers.mkdir()
    pixels.write_png(papers / "e\x1b]0;owned\x07\x1b[31mred.png", scene(1))
    run("library", "add", str(papers), "--library", place)
    _, listed, _ = run("library", "info", "--library", place, "--documents")
    document = store.documents(store.open_library(place))[0]["document"]
    _, removed, _ = run("library", "remove", document[:12], "--library", place)
    for text in (listed, removed):
        assert "red.png" in text
        assert "\x1b" not in text
