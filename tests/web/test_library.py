"""The desk's page of a panel that is looked for in the library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.detect.scenes import cells, scene
from tests.web.desks import enter, make_case, open_desk

from twinscope import corpus, pixels
from twinscope.library import store
from twinscope.settings import Settings
from twinscope.types import Correction, Figure, InputFile, Origin, Panel, Provenance, Screening
from twinscope.web import hands, job

SETTINGS = Settings(threads=1)


def library(folder: Path, older: bool) -> str:
    """A library of two pictures, one of which has only vectors of another network, if wanted."""
    (folder / "papers").mkdir()
    for name, image in (("one", scene(2)), ("two", cells(5))):
        pixels.write_png(folder / "papers" / f"{name}.png", image)
    uri = str(folder / "library")
    corpus.add([folder / "papers"], uri, SETTINGS)
    if older:
        rows = store.open_library(uri).table.search().limit(100).to_arrow().select(store.SCHEMA.names)
        rows = rows.filter(pa.compute.equal(rows["file"], rows["file"].to_pylist()[-1]))
        at = rows.schema.get_field_index("model")
        other = pa.array(["embedder-old"] * len(rows))
        with store.writing(uri) as opened:
            store.remove(opened, rows["document"].unique().to_pylist())
            store.add(opened, rows.set_column(at, store.SCHEMA.field("model"), other))
    return uri


def page(tmp_path: Path, uri: str) -> str:
    """Look for a panel, which is the library's first picture, and return what the desk shows."""
    folder = tmp_path / "cases"
    desk = open_desk(folder, library=uri)
    case = make_case(folder)
    source = Origin(path="paper.pdf", sha256="f" * 64, page=1, box_pt=(0, 0, 90, 80), how="rendered")
    image = np.ascontiguousarray(scene(2)[:, ::-1])
    room = folder / case.id
    (room / "panels").mkdir()
    pixels.write_png(room / "panels" / "p1.png", image)
    screening = Screening(
        inputs=(InputFile(path="paper.pdf", sha256="f" * 64, kind="pdf", status="ok"),),
        figures=(Figure(id="f1", source=source.model_copy(update={"box_pt": None}), label="Figure 1"),),
        panels=(Panel(id="p1", figure="f1", kind="micrograph", size=image.shape[:2], source=source),),
        seconds=1.0,
        provenance=Provenance(twinscope="0.1.0", settings_sha256="0" * 64),
    )
    (room / "screening.json").write_text(screening.model_dump_json())
    asked = job.Asked(
        kind="library", what={"panel": "p1"}, files=(), settings=SETTINGS, library=uri, nice=0, progress_s=0
    )
    assert job.KINDS["library"](room, asked, lambda *_: None) >= 1
    return enter(desk).get(f"/cases/{case.id}/library/p1").text


def test_the_nearest_panels_are_shown_the_same_picture_first(tmp_path: Path) -> None:
    shown = page(tmp_path, library(tmp_path, older=False))
    assert shown.index("one.png") < shown.index("two.png")
    assert "were not searched" not in shown


def test_panels_of_another_network_are_said_to_be_left_out(tmp_path: Path) -> None:
    shown = page(tmp_path, library(tmp_path, older=True))
    assert "one.png" in shown
    assert "two.png" not in shown
    assert "its panels with vectors of another network were not searched (1 of 2)" in shown


def test_a_library_that_had_to_be_mended_is_said(tmp_path: Path) -> None:
    uri = library(tmp_path, older=False)
    pixels.write_png(tmp_path / "three.png", scene(3))
    corpus.add([tmp_path / "three.png"], uri, SETTINGS)
    data = max(Path(uri).glob("panels.lance/data/*"), key=lambda path: path.stat().st_mtime_ns)
    data.write_bytes(data.read_bytes()[:-1])
    shown = page(tmp_path, uri)
    assert "The library: it was mended when it was opened: panels.lance/data/" in shown
    assert "one.png" in shown


def test_a_hit_is_named_by_its_page_figure_and_panel(tmp_path: Path) -> None:
    uri = library(tmp_path, older=False)
    page(tmp_path, uri)
    path = next(tmp_path.glob("cases/*/library/*.json"))
    kept = json.loads(path.read_text())
    places = [{"page": 3, "figure": "", "label": "A"}, {"page": 4, "figure": "Figure 2", "label": "B"}]
    kept["hits"] = [{**hit, **place} for hit, place in zip(kept["hits"], places, strict=True)]
    path.write_text(json.dumps(kept))
    shown = enter(open_desk(tmp_path / "cases", library=uri)).get(f"/cases/{path.parts[-3]}/library/p1").text
    assert "one.png</bdi>, page 3, panel A</p>" in shown
    assert "two.png</bdi>, page 4, Figure 2 B</p>" in shown


def test_hits_are_those_of_the_panel_that_stands_there(tmp_path: Path) -> None:
    uri = library(tmp_path, older=False)
    page(tmp_path, uri)
    (file,) = tmp_path.glob("cases/*/screening.json")
    screening = Screening.model_validate_json(file.read_bytes())
    (panel,) = screening.panels
    source = panel.source.model_copy(update={"box_pt": (100.0, 0.0, 190.0, 80.0)})
    both = (panel.model_copy(update={"source": source}), panel.model_copy(update={"id": "p2"}))
    file.write_text(screening.model_copy(update={"panels": both}).model_dump_json())
    client, place = enter(open_desk(tmp_path / "cases", library=uri)), f"/cases/{file.parts[-2]}/library"
    assert "one.png" not in client.get(f"{place}/p1").text  # another panel has the id now
    assert "one.png" in client.get(f"{place}/p2").text
    hits = next(file.parent.glob("library/*.json"))
    hits.rename(hits.with_name("p1.json"))  # as an older version named it
    assert "one.png" in client.get(f"{place}/p1").text
    hands.correct(file.parent, [Correction(sha256="f" * 64, page=1, box=(1, 1, 9, 9))])
    assert "one.png" not in client.get(f"{place}/p1").text


def test_the_help_page_names_the_library_of_the_desk(tmp_path: Path) -> None:
    shown = enter(open_desk(tmp_path / "with", library="s3://earlier")).get("/help").text
    assert "within these files and with the panels of the library s3://earlier, not with other papers" in shown
    alone = enter(open_desk(tmp_path / "without")).get("/help").text
    assert "within these files, not with other papers" in alone
