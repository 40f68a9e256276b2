"""Reading through worker processes: every kind of document, resume, and workers that die, hang or lie."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import psutil
import pytest
import tifffile
from numpy.typing import NDArray

from twinscope import ingest, pixels, settings
from twinscope.errors import BrokenError
from twinscope.ingest import Reading, watch
from twinscope.ingest import archive as archives
from twinscope.types import Panel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import papers
from papers import micrograph

Image = NDArray[np.uint8]


def read(case: Path, *paths: Path, **ingest_settings: object) -> Reading:
    return ingest.read(list(paths), case, settings.load(flags={"ingest": ingest_settings}))


def grey_of(case: Path, panel: str) -> Image:
    image = pixels.read_png(case / "panels" / f"{panel}.png")
    return image if image.ndim == 2 else image[..., 0]


@pytest.mark.parametrize(("name", "options"), [
    ("a.png", {}), ("a.webp", {"lossless": True}), ("a.gif", {}), ("a.bmp", {}), ("a.tif", {}),
])  # fmt: skip
def test_lossless_pictures(tmp_path: Path, name: str, options: dict[str, bool]) -> None:
    image = micrograph()
    PIL.Image.fromarray(image).save(tmp_path / name, **options)
    got = read(tmp_path / "case", tmp_path / name)
    assert [(i.status, i.reason) for i in got.inputs] == [("ok", "")]
    assert [p.id for p in got.panels] == ["d1-f1-1"]
    assert np.array_equal(grey_of(tmp_path / "case", "d1-f1-1"), image)
    assert got.panels[0].source.how == "image"
    assert got.panels[0].source.box_px == (0, 0, 160, 120)


def test_jpeg_is_turned_by_its_exif(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(micrograph())
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    got = read(tmp_path / "case", tmp_path / "a.jpg")
    assert got.panels[0].size == (160, 120)
    seen = grey_of(tmp_path / "case", "d1-f1-1").astype(int)
    assert np.abs(seen - np.rot90(micrograph(), -1)).mean() < 3


def test_alpha_lets_the_paper_through(tmp_path: Path) -> None:
    rgba = np.dstack([micrograph(i) for i in range(3)] + [np.full((120, 160), 255, np.uint8)])
    rgba[:, 80:, 3] = 0
    PIL.Image.fromarray(rgba).save(tmp_path / "a.png")
    image, frames = pixels.decode(tmp_path / "a.png", "png", 10**6)
    assert frames == 1
    assert np.array_equal(image[:, :80], rgba[:, :80, :3])
    assert (image[:, 80:] == 255).all()


def test_sixteen_bit_tiff_pages_are_stretched(tmp_path: Path) -> None:
    deep = (micrograph().astype(np.uint16) + 1000) * 3
    tifffile.imwrite(tmp_path / "a.tif", np.stack([deep, deep[::-1]]), photometric="minisblack")
    got = read(tmp_path / "case", tmp_path / "a.tif")
    assert [p.source.page for p in got.panels] == [1, 2]
    first, second = (grey_of(tmp_path / "case", p.id) for p in got.panels)
    assert np.array_equal(first, second[::-1])
    assert first.min() == 0
    assert first.max() == 255
    assert np.corrcoef(first.ravel(), deep.ravel())[0, 1] > 0.999


def test_float_and_ome_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f.tif", micrograph().astype(np.float32) / 7 - 9, photometric="minisblack")
    stack = np.stack([micrograph(i).astype(np.uint16) * 200 for i in range(3)])
    tifffile.imwrite(tmp_path / "o.ome.tif", stack, photometric="minisblack", metadata={"axes": "CYX"}, tile=(64, 64))
    got = read(tmp_path / "case", tmp_path / "f.tif", tmp_path / "o.ome.tif")
    assert [i.status for i in got.inputs] == ["ok", "ok"]
    assert len(got.figures) == 4
    for number in range(3):
        seen = grey_of(tmp_path / "case", f"d2-f{number + 1}-1")
        assert np.corrcoef(seen.ravel(), micrograph(number).ravel())[0, 1] > 0.99


def test_white_is_zero_palette_and_rgb_tiff(tmp_path: Path) -> None:
    image = micrograph()
    tifffile.imwrite(tmp_path / "w.tif", image, photometric="miniswhite")
    ((_, white),) = pixels.decode_tiff(tmp_path / "w.tif", 10**6, 10)
    assert np.array_equal(white, 255 - image)
    table = np.stack([np.arange(256)] * 3).astype(np.uint16) * 256
    tifffile.imwrite(tmp_path / "p.tif", image, photometric="palette", colormap=table)
    ((_, colored),) = pixels.decode_tiff(tmp_path / "p.tif", 10**6, 10)
    assert np.array_equal(colored, np.dstack([image] * 3))
    rgb = np.dstack([micrograph(i) for i in range(3)])
    tifffile.imwrite(tmp_path / "c.tif", rgb, photometric="rgb")
    ((_, same),) = pixels.decode_tiff(tmp_path / "c.tif", 10**6, 10)
    assert np.array_equal(same, rgb)


def rgba_tiff(file: Path, values: NDArray[np.generic], extra: list[str] | None) -> Image:
    """Write four samples of RGB as a TIFF that calls the fourth one `extra`; return how it is read."""
    tifffile.imwrite(file, values, photometric="rgb", extrasamples=extra)
    ((_, image),) = pixels.decode_tiff(file, 10**6, 10)
    return image


def test_a_fourth_sample_of_a_tiff_that_is_no_alpha_changes_no_colour(tmp_path: Path) -> None:
    rgb = np.dstack([micrograph(i) for i in range(3)])
    for blank in (0, 255):
        four = np.dstack([rgb, np.full(rgb.shape[:2], blank, np.uint8)])
        assert np.array_equal(rgba_tiff(tmp_path / "x.tif", four, ["unspecified"]), rgb)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_alpha_of_a_tiff_lets_the_paper_through(tmp_path: Path, kind: str, depth: type) -> None:
    full = 1.0 if depth is np.float32 else np.iinfo(depth).max
    rgb = np.dstack([micrograph(i) for i in range(3)]) / 255 * full
    for share in (1.0, 0.5):  # half of the light, everywhere, or none on the right
        alpha = np.full((120, 160, 1), share)
        alpha[:, 120:] = 0 if share == 1 else share
        colors = rgb * (alpha if kind == "assocalpha" else 1)
        seen = rgba_tiff(tmp_path / "x.tif", np.dstack([colors, alpha * full]).astype(depth), [kind])
        if share == 1:
            assert (seen[:, 120:] == 255).all()
            assert np.corrcoef(seen[:, :120].ravel(), rgb[:, :120].ravel())[0, 1] > 0.97
        else:
            assert seen.min() >= 127
            assert np.ptp(seen) > 60


def test_a_few_small_spots_in_the_dark_are_seen(tmp_path: Path) -> None:
    spots = np.zeros((800, 800), np.uint16)
    spots[100:106, 200:206], spots[500:506, 300:306] = 20_000, 60_000
    tifffile.imwrite(tmp_path / "s.tif", spots, photometric="minisblack")
    PIL.Image.fromarray(spots).save(tmp_path / "s.png")
    ((_, seen),) = pixels.decode_tiff(tmp_path / "s.tif", 10**6, 10)
    assert (seen[102, 202], seen[502, 302], seen[0, 0]) == (85, 255, 0)
    assert np.array_equal(pixels.decode(tmp_path / "s.png", "png", 10**6)[0], seen)
    assert not pixels.stretch(np.full((9, 9), 700, np.uint16)).any()


@pytest.mark.parametrize("draw", [papers.docx, papers.pptx, papers.odt, papers.epub])
def test_office_pictures_in_order_with_captions(
    tmp_path: Path, draw: Callable[[Path, list[tuple[bytes, str]]], Path]
) -> None:
    images = [micrograph(seed) for seed in (1, 2)]
    file = draw(tmp_path, [(papers.png(i), f"Figure {n}. Cells after {n} days.") for n, i in enumerate(images, 1)])
    got = read(tmp_path / "case", file)
    assert [(i.status, i.reason) for i in got.inputs] == [("ok", "")]
    assert [p.id for p in got.panels] == ["d1-f1-1", "d1-f2-1"]
    assert [p.caption for p in got.panels] == ["Figure 1. Cells after 1 days.", "Figure 2. Cells after 2 days."]
    for panel, image in zip(got.panels, images, strict=True):
        assert np.array_equal(grey_of(tmp_path / "case", panel.id), image)


def test_vector_pictures_in_office_are_told(tmp_path: Path) -> None:
    file = papers.docx(tmp_path, [(papers.png(micrograph()), "Figure 1. A cell.")])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("word/media/image9.emf", b"\1\0\0\0")
    got = read(tmp_path / "case", file)
    assert got.inputs[0].status == "partial"
    assert [p.reason for p in got.problems] == ["word/media/image9.emf: pictures in EMF format are not read"]


def test_folders_and_archives_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "2.png").write_bytes(papers.png(micrograph(2)))
    (folder / "a.png").write_bytes(papers.png(micrograph(1)))
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "old.psd").write_bytes(b"8BPS")
    (folder / "link.png").symlink_to(folder / "a.png")
    with zipfile.ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr("x/3.png", papers.png(micrograph(3)))
        archive.writestr("readme.md", "hello")
    got = read(tmp_path / "case", folder)
    name = folder.as_posix()
    assert [i.path for i in got.inputs] == [
        f"{name}/a.png",
        f"{name}/b/2.png",
        f"{name}/c.zip",
        f"{name}/c.zip!/x/3.png",
    ]
    assert [i.status for i in got.inputs] == ["ok"] * 4
    assert [p.id for p in got.panels] == ["d1-f1-1", "d2-f1-1", "d4-f1-1"]
    assert {p.path for p in got.problems} == {f"{name}/link.png", f"{name}/old.psd"}
    assert np.array_equal(grey_of(tmp_path / "case", "d4-f1-1"), micrograph(3))


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_entry_of_any_packing_is_told_and_nothing_else(how: int, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", how) as made:
        made.writestr("a.png", np.random.default_rng(1).integers(0, 64, 3000, np.uint8).tobytes())
    whole, told = file.read_bytes(), 0
    for place in range(40, 1500, 25):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        opened, entries = archives.open_archive(file, 10)
        try:
            list(archives.chunks(opened, entries[0], archives.Meter(settings.Limits(), 10**9)))
        except BrokenError:
            told += 1
        opened.close()
    assert told > 50


def test_same_picture_twice_is_two_panels_and_same_paper_twice_is_read_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(papers.png(micrograph()))
    paper = papers.docx(tmp_path, [(papers.png(micrograph(4)), "")])
    copy = tmp_path / "copy.docx"
    copy.write_bytes(paper.read_bytes())
    got = read(tmp_path / "case", tmp_path / "a.png", tmp_path / "b.png", paper, copy)
    assert [p.id for p in got.panels] == ["d1-f1-1", "d2-f1-1", "d3-f1-1"]
    assert [p.source.path for p in got.panels[:2]] == [(tmp_path / n).as_posix() for n in ("a.png", "b.png")]
    assert got.inputs[3].status == "ok"
    assert "read once" in got.inputs[3].reason


def test_a_file_that_is_named_twice_is_read_once_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(papers.png(micrograph()))
    (tmp_path / "link.png").symlink_to(tmp_path / "in" / "a.png")
    named = [tmp_path / "in", tmp_path / "in" / "a.png", tmp_path / "in" / ".." / "in" / "b.png", tmp_path / "link.png"]
    got = ingest.read(named, tmp_path / "case", settings.load(), once=True)
    assert [i.path for i in got.inputs] == [(tmp_path / "in" / name).as_posix() for name in ("a.png", "b.png")]
    assert [p.id for p in got.panels] == ["d1-f1-1", "d2-f1-1"]
    assert len(ingest.read(named, tmp_path / "case", settings.load()).panels) == 5


def test_a_name_that_is_no_text_is_told_as_one_that_is(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfc"))
    folder.mkdir()
    odd = folder / os.fsdecode(b"M\xfcller.png")
    odd.write_bytes(papers.png(micrograph()))
    (folder / os.fsdecode(b"\xe9.psd")).write_bytes(b"8BPS")
    with zipfile.ZipFile(folder / os.fsdecode(b"\xff.zip"), "w") as archive:
        archive.writestr("a.png", papers.png(micrograph(1)))
    got = read(tmp_path / "case", folder, odd)
    name = f"{tmp_path.as_posix()}/f%FC"
    assert [i.path for i in got.inputs] == [
        f"{name}/M%FCller.png", f"{name}/%FF.zip", f"{name}/%FF.zip!/a.png", f"{name}/M%FCller.png",
    ]  # fmt: skip
    assert [i.status for i in got.inputs] == ["ok"] * 4
    assert [p.path for p in got.problems] == [f"{name}/%E9.psd"]
    assert [p.model_dump_json()[:15] for p in got.panels] == [f'{{"id":"d{n}-f1-1"' for n in (1, 3, 4)]


def test_second_screening_reads_from_the_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(papers.png(micrograph()))
    case = tmp_path / "case"
    first = read(case, tmp_path / "a.png")
    monkeypatch.setattr(watch, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    (tmp_path / "z.png").write_bytes(papers.png(micrograph()))
    again = read(case, tmp_path / "z.png")
    assert again.inputs[0].status == "ok"
    assert again.panels[0].source.path.endswith("z.png")
    assert again.panels[0].size == first.panels[0].size
    assert read(case, tmp_path / "a.png", render_dpi=210).inputs[0].status == "failed"


def test_panels_are_told_with_their_pixels_while_the_rest_is_read(tmp_path: Path) -> None:
    for name in "ab":
        PIL.Image.fromarray(micrograph()[:, ::-1] if name == "b" else micrograph()).save(tmp_path / f"{name}.png")
    told: list[tuple[tuple[int, int], bytes]] = []

    def found(panel: Panel, image: Image) -> None:
        told.append((panel.size, image.tobytes()))

    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    got = ingest.read(paths, tmp_path / "case", settings.load(), None, found)
    pictures = [pixels.read_png(tmp_path / "case" / "panels" / f"{panel.id}.png") for panel in got.panels]
    assert sorted(told) == sorted(
        (panel.size, image.tobytes()) for panel, image in zip(got.panels, pictures, strict=True)
    )
    assert len(told) == 2
    ingest.read(paths, tmp_path / "case", settings.load(), None, found)
    assert len(told) == 2  # what was read before is not told again


def test_what_an_earlier_screening_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(papers.png(micrograph()))
    case = tmp_path / "case"
    read(case, tmp_path / "a.png", tmp_path / "a.png")
    read(case, tmp_path / "a.png")
    assert [f.name for f in (case / "panels").iterdir()] == ["d1-f1-1.png"]


def test_paper_with_pages_thumbnails_and_ids(tmp_path: Path) -> None:
    file = papers.pdf(tmp_path, [micrograph(1), None, micrograph(2)])
    got = read(tmp_path / "case", file)
    assert [p.id for p in got.panels] == ["d1-p1-f1-1", "d1-p3-f1-1"]
    assert [p.thumbnail for p in got.pages] == [f"pages/d1-p00{n}.jpg" for n in (1, 2, 3)]
    assert all((tmp_path / "case" / str(p.thumbnail)).is_file() for p in got.pages)
    assert got.inputs[0].pages == 3
    assert np.array_equal(grey_of(tmp_path / "case", "d1-p3-f1-1"), micrograph(2))


def test_a_page_that_kills_the_worker_costs_only_itself(tmp_path: Path) -> None:
    file = papers.pdf(tmp_path, [micrograph(1), "bomb", micrograph(2)])
    got = read(tmp_path / "case", file)
    assert got.inputs[0].status == "partial"
    assert [p.id for p in got.panels] == ["d1-p1-f1-1", "d1-p3-f1-1"]
    assert [p.page for p in got.problems] == [2]
    assert "memory" in got.problems[0].reason


INSTEAD = """
import os, time
from twinscope.ingest import worker

real = worker.work

def work(job, read, channel):
    {does}
    return 0

worker.work = work
worker.main()
"""


def in_their_place(monkeypatch: pytest.MonkeyPatch, folder: Path, does: str) -> Path:
    """Have workers do something else than read the document `job` and tell on the file `channel`; return the script."""
    script = folder / "instead.py"
    script.write_text(INSTEAD.format(does=does))
    monkeypatch.setattr(watch, "COMMAND", (sys.executable, str(script)))
    return script


def running(script: Path) -> int:
    """Return how many processes run a script: what workers are forked from, and the workers."""
    count = 0
    for process in psutil.process_iter():
        try:
            count += str(script) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue  # it has ended
    return count


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, a minute at most."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_hanging_worker_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(papers.png(micrograph()))
    script = in_their_place(monkeypatch, tmp_path, "time.sleep(300)")
    got = read(tmp_path / "case", tmp_path / "a.png", limits={"page_s": 0.5, "restarts": 0})
    assert got.inputs[0].status == "failed"
    assert "longer than 0.5 s" in got.inputs[0].reason
    assert running(script) == 0


@pytest.mark.parametrize(("does", "reason"), [
    ("os.kill(os.getpid(), 9)", "ran out of memory or was stopped"),
    ("os.kill(os.getpid(), 24)", "more processor time than the limit"),
    ("os.kill(os.getpid(), 11)", "process died"),
    ("os.close(channel); time.sleep(1); os._exit(3)", "gave up"),
    ("raise ValueError", "gave up"),
    ("os.kill(os.getppid(), 9); time.sleep(8)", "stopped"),
])  # fmt: skip
def test_a_worker_that_dies_says_why_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(papers.png(micrograph(ord(name))))
    chosen = settings.load(flags={"threads": 1, "ingest": {"limits": {"restarts": 0, "page_s": 3}}})
    in_their_place(
        monkeypatch, tmp_path, f"if not job.file.endswith('a.png'): return real(job, read, channel)\n    {does}"
    )
    got = ingest.read([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "case", chosen)
    assert [i.status for i in got.inputs] == ["failed", "ok"]
    assert reason in got.inputs[0].reason
    assert [p.id for p in got.panels] == ["d2-f1-1"]


def test_workers_do_not_outlive_who_started_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(papers.png(micrograph()))
    script = in_their_place(monkeypatch, tmp_path, "time.sleep(300)")
    starts = tmp_path / "starts.py"
    starts.write_text(
        "import sys\nfrom pathlib import Path\nfrom twinscope import ingest, settings\n"
        "from twinscope.ingest import watch\nwatch.COMMAND = (sys.executable, sys.argv[1])\n"
        "ingest.read([Path(sys.argv[2])], Path(sys.argv[3]), settings.Settings())\n"
    )
    command = [sys.executable, str(starts), str(script), str(tmp_path / "a.png"), str(tmp_path / "case")]
    with subprocess.Popen(command) as process:
        until(lambda: running(script) == 3)  # with the process itself, whose argument it is
        process.kill()
    until(lambda: running(script) == 0)


def test_many_threads_share_what_starts_workers(tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.png" for k in range(12)]
    for k, file in enumerate(files):
        file.write_bytes(papers.png(micrograph(k)))
    chosen = settings.load(flags={"threads": 6})
    with watch.Workers() as workers:
        first = ingest.read(files[:6], tmp_path / "first", chosen, workers=workers)
        forker = workers._process
        second = ingest.read(files, tmp_path / "second", chosen, workers=workers)
        assert workers._process is forker
    assert [i.status for i in (*first.inputs, *second.inputs)] == ["ok"] * 18
    for k, panel in enumerate(second.panels):
        assert np.array_equal(grey_of(tmp_path / "second", panel.id), micrograph(k))
    assert forker is not None
    assert forker.poll() == 0
    late = ingest.read(files[:1], tmp_path / "late", chosen, workers=workers)
    assert [i.status for i in late.inputs] == ["failed"]
    assert workers._process is None


def test_what_workers_are_forked_from_stays_small() -> None:
    """Each worker copies its page tables: with scipy a fork costs three times as much."""
    code = (
        "import sys; from twinscope.ingest import worker; worker._reader('png'); worker._reader('pdf')\n"
        "print([name for name in ('scipy', 'sklearn', 'onnxruntime', 'lancedb', 'pyarrow') if name in sys.modules])\n"
        "print('numpy.ma' in sys.modules)"  # a worker would load it at its first percentile
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[:2] == ["[]", "True"]


@pytest.mark.parametrize("lie", [
    "not json",
    json.dumps({"event": "panel", "panel": {"id": "f1-1", "figure": "f1", "kind": "blot", "size": [9, 9],
                                            "source": {"path": "PATH", "sha256": "SHA"}}}),
    json.dumps({"event": "figure", "figure": {"id": "../../x", "source": {"path": "PATH", "sha256": "SHA"}}}),
    json.dumps({"event": "figure", "figure": {"id": "f1", "source": {"path": "/etc/passwd", "sha256": "SHA"}}}),
    "x" * (2 << 20),
])  # fmt: skip
def test_lying_worker_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    (tmp_path / "a.png").write_bytes(papers.png(micrograph()))
    (tmp_path / "lie").write_text(lie + '\n{"event": "done"}\n')
    told = f"open({str(tmp_path / 'lie')!r}).read().replace('PATH', job.path).replace('SHA', job.sha256)"
    in_their_place(monkeypatch, tmp_path, f"os.fdopen(channel, 'w').write({told})")
    got = read(tmp_path / "case", tmp_path / "a.png", limits={"restarts": 0})
    assert got.inputs[0].status == "failed"
    assert got.panels == ()
    assert got.figures == ()


def test_truncated_picture_and_picture_over_the_limit(tmp_path: Path) -> None:
    data = papers.png(micrograph())
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "large.png").write_bytes(data)
    got = read(tmp_path / "case", tmp_path / "cut.png", tmp_path / "large.png", limits={"image_px": 15_000})
    assert [i.status for i in got.inputs] == ["refused", "refused"]
    with pytest.raises(pixels.BrokenError):
        pixels.decode(tmp_path / "cut.png", "png", 10**6)


def test_icc_profile_is_applied(tmp_path: Path) -> None:
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.dstack([micrograph()] * 3)).save(buffer, "PNG", icc_profile=lab)
    image, _ = pixels.decode(buffer.getvalue(), "png", 10**6)
    assert image.shape == (120, 160, 3)
