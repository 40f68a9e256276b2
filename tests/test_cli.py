"""The command line: what it refuses, what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twinscope import console, pixels
from twinscope.errors import ModelError
from twinscope.settings import Settings, load
from twinscope.types import Figure, Finding, InputFile, Origin, Panel, Problem, Provenance, Screening

SHA = "0" * 64
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"%PDF-1.4")
    return path


def screening(
    probability: float | None = 0.98, status: str = "ok", problems: tuple[Problem, ...] = (), path: str = "paper.pdf"
) -> Screening:
    panels = [
        Panel(
            id=f"d1-p4-f1-{n}",
            figure="d1-p4-f1",
            kind="micrograph",
            size=(40, 60),
            label="ab"[n - 1],
            source=Origin(path=path, sha256=SHA, page=4),
        )
        for n in (1, 2)
    ]
    finding = Finding(
        id="f1",
        kind="duplicate",
        a=panels[0].id,
        b=panels[1].id,
        verdict="benign",
        probability=probability or 0,
        expected_false=0.01,
        region_a=(0, 0, 60, 40),
        region_b=(0, 0, 60, 40),
        transform=((-1, 0, 60), (0, 1, 0), (0, 0, 1)),
        steps=("mirrored left-right",),
    )
    return Screening(
        inputs=(InputFile(path=path, sha256=SHA, kind="pdf", status=status, reason="" if status == "ok" else "torn"),),
        figures=(Figure(id="d1-p4-f1", source=Origin(path=path, sha256=SHA, page=4), label="Figure 1"),),
        panels=tuple(panels),
        findings=(finding,) if probability is not None else (),
        problems=problems,
        seconds=1.25,
        provenance=Provenance(twinscope="0", settings_sha256=SHA),
    )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Put a stand-in in the place of the pipeline; `result` is what it gives, `seen` what it was asked."""
    stand_in = types.SimpleNamespace(result=screening(), seen=[])

    def give(case: Path, settings: Settings) -> Screening:
        if isinstance(stand_in.result, BaseException):
            raise stand_in.result
        (case / "panels").mkdir(parents=True, exist_ok=True)
        for panel in stand_in.result.panels:
            pixels.write_png(case / "panels" / f"{panel.id}.png", np.full(panel.size, 99, np.uint8))
        return stand_in.result

    def screen(
        paths: list[Path],
        case: Path,
        settings: Settings,
        progress: Callable[[str, int, int], None],
        library: str | None = None,
    ) -> Screening:
        stand_in.seen.append((paths, settings))
        progress("embed", 1, 2)
        return give(case, settings)

    def compare(a: Path, b: Path, case: Path, settings: Settings) -> Screening:
        stand_in.seen.append(([a, b], settings))
        return give(case, settings)

    module = types.ModuleType("twinscope.screen")
    module.screen = screen  # type: ignore[attr-defined]
    module.compare = compare  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "twinscope.screen", module)
    return stand_in


def test_screen_writes_the_report_and_names_it(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    code, out, err = run("screen", str(paper), "-o", str(tmp_path / "case"))
    assert (code, err) == (0, "")
    assert "98 %" in out
    assert "mirrored left-right" in out
    assert "Figure 1 a (page 4) = Figure 1 b (page 4)" in out
    assert str(tmp_path / "case" / "report.html") in out
    assert (tmp_path / "case" / "report.html").stat().st_size > 0
    assert "f1" in (tmp_path / "case" / "findings.csv").read_text(encoding="utf-8-sig")


def test_screen_json_is_the_screening_and_nothing_else(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    code, out, _ = run("screen", str(paper), "-o", str(tmp_path / "case"), "--json")
    assert code == 0
    assert Screening.model_validate_json(out) == pipeline.result


@pytest.mark.parametrize(
    ("result", "gate", "code"),
    [
        (screening(), None, 0),
        (screening(0.98), "0.98", 1),
        (screening(0.97), "0.98", 0),
        (screening(None), "0", 0),
        (screening(None, status="partial"), None, 3),
        (screening(None, status="refused"), "0.5", 3),
        (screening(None, problems=(Problem(path="paper.pdf", page=2, reason="took too long"),)), None, 3),
        (screening(0.98, status="failed"), "0.5", 1),
    ],
)
def test_exit_codes(
    result: Screening,
    gate: str | None,
    code: int,
    run: Run,
    pipeline: types.SimpleNamespace,
    paper: Path,
    tmp_path: Path,
) -> None:
    pipeline.result = result
    flags = [] if gate is None else ["--fail-above", gate]
    assert run("screen", str(paper), "-o", str(tmp_path / "case"), *flags)[0] == code


def test_nothing_to_read_is_not_clean(run: Run, pipeline: types.SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pipeline.result = Screening(inputs=(), seconds=0, provenance=Provenance(twinscope="0", settings_sha256=SHA))
    code, out, err = run("screen", str(tmp_path / "empty"), "-o", str(tmp_path / "case"))
    assert (code, out) == (2, "")
    assert "nothing to read in" in err
    told = Problem(path="empty/x.xyz", reason="not a kind of file that twinscope reads")
    pipeline.result = pipeline.result.model_copy(update={"problems": (told,)})
    assert run("screen", str(tmp_path / "empty"), "-o", str(tmp_path / "case"))[0] == 3


def test_problems_and_partial_inputs_are_told(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    pipeline.result = screening(
        None, status="partial", problems=(Problem(path="paper.pdf", page=2, reason="took too long"),)
    )
    _, out, _ = run("screen", str(paper), "-o", str(tmp_path / "case"))
    assert "problem: paper.pdf: read in part: torn" in out
    assert "problem: paper.pdf: page 2: took too long" in out


def test_hostile_names_cannot_steer_the_terminal(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    pipeline.result = screening(None, status="failed", path="\x1b]0;owned\x07\x1b[2J\u202e[red]x[/red].pdf")
    _, out, _ = run("screen", str(paper), "-o", str(tmp_path / "case"))
    assert not any(char in out for char in "\x1b\x07\u202e")
    assert "[red]x[/red].pdf" in out


def test_settings_come_from_defaults_then_toml_then_flags(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    toml = tmp_path / "s.toml"
    toml.write_text("seed = 5\nthreads = 7\n[ingest]\nrender_dpi = 300\n")
    case = str(tmp_path / "case")
    run("screen", str(paper), "-o", case, "--settings", str(toml), "--set", "ingest.render_dpi=250", "--threads", "1")
    settings = pipeline.seen[0][1]
    assert (settings.seed, settings.threads, settings.ingest.render_dpi) == (5, 1, 250)
    assert settings.ingest.thumbnail_dpi == Settings().ingest.thumbnail_dpi


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["screen", "missing.pdf", "-o", "case"], "missing.pdf does not exist"),
        (["screen", "PAPER", "-o", "PAPER"], "is a file"),
        (["screen", "PAPER", "-o", "."], "not of a case"),
        (["screen", "PAPER"], "Missing option"),
        (["screen", "PAPER", "-o", "case", "--set", "ingest.colour=1"], "ingest.colour"),
        (["screen", "PAPER", "-o", "case", "--set", "threads"], "KEY=VALUE"),
        (["screen", "PAPER", "-o", "case", "--set", "seed=1", "--set", "seed.x=1"], "not a table"),
        (["screen", "PAPER", "-o", "case", "--settings", "none.toml"], "none.toml"),
        (["screen", "PAPER", "-o", "case", "--threads", "0"], "threads"),
        (["screen", "PAPER", "-o", "case", "--fail-above", "1.5"], "--fail-above"),
        (["compare", "PAPER", "-o", "case"], "takes two pictures, A and B, or a CSV file"),
        (["compare", "-o", "case"], "takes two pictures, A and B, or a CSV file"),
        (["compare", "PAPER", "PAPER", "-o", "case", "--batch", "PAPER"], "leave out A and B"),
        (["compare", "-o", "case", "--batch", "none.csv"], "none.csv does not exist"),
        (["compare", "-o", "case", "--batch", "."], ". is a folder"),
        (["compare", "-o", "case", "--batch", "PAPER"], "has no column a"),
        (["compare", "PAPER", ".", "-o", "case"], ". is a folder"),
        (["compare", "PAPER", "none.png", "-o", "case"], "none.png does not exist"),
        (["compare", "PAPER", "x" * 5000, "-o", "case"], "cannot be opened (File name too long)"),
        (["compare", "-o", "case", "--batch", "x" * 5000], "does not exist"),
        (["screen", "x\x1b[2J\u202e.pdf", "-o", "case"], "x⟨U+001B⟩[2J⟨U+202E⟩.pdf does not exist"),
        (["models", "verify", "nobody"], "no model nobody"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(
    arguments: list[str], word: str, run: Run, paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*[str(paper) if argument == "PAPER" else argument for argument in arguments])
    assert code == 2
    assert word in err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paper.pdf"]


def test_an_error_that_is_foreseen_is_one_sentence(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    pipeline.result = ModelError(
        "the file of embedder-0 is not the one that its card describes; install twinscope again"
    )
    code, _, err = run("screen", str(paper), "-o", str(tmp_path / "case"))
    assert code == 4
    assert err.strip() == f"twinscope: {pipeline.result}"


def test_ctrl_c_says_how_to_go_on(run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path) -> None:
    pipeline.result = KeyboardInterrupt()
    code, _, err = run("screen", str(paper), "-o", str(tmp_path / "case"))
    assert code == 130
    assert "same command" in err
    assert "Traceback" not in err


def test_a_case_of_an_interrupted_run_may_be_used_again(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    (tmp_path / "case" / "cache").mkdir(parents=True)
    assert run("screen", str(paper), "-o", str(tmp_path / "case"))[0] == 0


def test_compare_gives_a_picture_and_json(
    run: Run, pipeline: types.SimpleNamespace, paper: Path, tmp_path: Path
) -> None:
    _, out, _ = run("compare", str(paper), str(paper), "-o", str(tmp_path / "case"))
    assert f"picture: {tmp_path / 'case' / 'comparison.png'}\n" in out
    code, out, _ = run("compare", str(paper), str(paper), "-o", str(tmp_path / "case"), "--json")
    assert code == 0
    assert json.loads(out)["findings"][0]["steps"] == ["mirrored left-right"]
    assert pixels.read_png(tmp_path / "case" / "comparison.png").shape[2] == 3
    assert "mirrored left-right" in (tmp_path / "case" / "findings.csv").read_text(encoding="utf-8-sig")
    assert (tmp_path / "case" / "report.html").is_file()


def test_settings_prints_toml_that_gives_the_same_settings(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("settings", "--set", "ingest.limits.pages=17")
    (tmp_path / "s.toml").write_text(out)
    assert code == 0
    assert load(tmp_path / "s.toml") == load(flags={"ingest": {"limits": {"pages": 17}}})
    assert load(tmp_path / "s.toml") != Settings()


def test_settings_json(run: Run) -> None:
    assert json.loads(run("settings", "--json")[1]) == Settings().model_dump(mode="json")


def test_models_list_and_verify(run: Run) -> None:
    code, out, _ = run("models", "list")
    assert code == 0
    assert "embedder-0" in out
    rows = json.loads(run("models", "list", "--json")[1])
    assert {row["id"] for row in rows} >= {"embedder-0"}
    code, out, _ = run("models", "verify", "--json")
    assert code == 0
    verified = {row["id"]: row for row in json.loads(out)}
    assert verified.keys() == {row["id"] for row in rows}
    assert verified["embedder-0"]["ok"] is True
    assert 0 <= verified["embedder-0"]["difference"] < 0.01


def test_a_model_that_fails_its_card_is_a_problem(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinscope import models

    def verify(name: str) -> None:
        raise ModelError("its hash is wrong")

    monkeypatch.setattr(models, "verify", verify)
    code, out, _ = run("models", "verify", "embedder-0")
    assert code == 3
    assert "embedder-0  its hash is wrong" in out


def test_every_stage_has_a_name_for_the_person_who_waits() -> None:
    package = Path(console.__file__).parent
    names = (
        "screen.py",
        "corpus.py",
        "ingest/__init__.py",
        "cli.py",
        "detect/vectors.py",
        "measure.py",
        "segments.py",
        "train/metric.py",
        "batch.py",
        "web/job.py",
        "audit.py",
        "aligning.py",
    )
    sources = [package / name for name in names]
    told = {name for path in sources for name in re.findall(r'(?:tell|progress)\("(\w+)", ', path.read_text())}
    assert {"read", "compare", "report"} <= told
    assert told == console.STAGES.keys()


def test_version(run: Run) -> None:
    from twinscope import __version__

    assert run("--version") == (0, f"twinscope {__version__}\n", "")


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Put a stand-in in the place of the explanation; return what it gives."""
    told: dict[str, object] = {"distance": 0.25, "a": {"words": "it is there"}, "b": {"words": "or here"},
                               "sheet": "explanation.png"}  # fmt: skip
    module = types.ModuleType("twinscope.report.explanation")
    module.write = lambda a, b, folder, settings: told  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "twinscope.report.explanation", module)
    monkeypatch.setattr("twinscope.report.explanation", module, raising=False)
    return told


def test_explain_tells_the_distance_the_places_and_the_sheet(
    run: Run, explained: dict[str, object], paper: Path, tmp_path: Path
) -> None:
    out_folder = tmp_path / "why"
    code, out, err = run("explain", str(paper), str(paper), "-o", str(out_folder))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "distance 0.250; 1 is the border of “same”", "a: it is there", "b: or here", str(out_folder / "explanation.png")
    ]  # fmt: skip
    code, out, _ = run("explain", str(paper), str(paper), "-o", str(out_folder), "--json")
    assert (code, json.loads(out)) == (0, explained)


def test_explain_refuses_what_is_not_there_and_folders_of_others(run: Run, paper: Path, tmp_path: Path) -> None:
    code, _, err = run("explain", str(paper), str(tmp_path / "none.png"), "-o", str(tmp_path / "why"))
    assert (code, "none.png does not exist" in err) == (2, True)
    code, _, err = run("explain", str(paper), str(paper), "-o", str(tmp_path))
    assert (code, "not of a case" in err) == (2, True)


def test_nothing_heavy_is_imported_at_the_start() -> None:
    heavy = (
        "torch onnxruntime cv2 lancedb fastapi starlette uvicorn sqlite3 argon2 jinja2 numpy PIL pypdfium2 sklearn "
        "pydantic pyarrow twinscope.fetch twinscope.web"
    ).split()
    code = f"import sys, twinscope.cli; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def started(body: str, paper: Path, case: Path) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, with the `screen` of `body` in the place of the real one."""
    code = (
        "import sys, multiprocessing, signal, time, types; m = types.ModuleType('twinscope.screen')\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # under a shell's `&` it is ignored
        f"{body}m.screen = screen; sys.modules['twinscope.screen'] = m\n"
        f"sys.argv = ['twinscope', 'screen', {str(paper)!r}, '-o', {str(case)!r}]\n"
        "from twinscope.cli import main; main()"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_waits_for_no_process(paper: Path, tmp_path: Path) -> None:
    """A pool that is interrupted while it starts forgets to end its processes, and Python would wait for them."""
    body = (
        "def work():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)\n"
        "def screen(*_, **__):\n"
        "    p = multiprocessing.get_context('fork').Process(target=work); p.start()\n"
        "    print(p.pid, flush=True); time.sleep(60)\n"
    )
    with started(body, paper, tmp_path / "case") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=45)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "same command" in err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_real_interrupt_ends_a_real_run(paper: Path, tmp_path: Path) -> None:
    body = "def screen(*_, **__):\n    print('ready', flush=True); time.sleep(60)\n"
    with started(body, paper, tmp_path / "case") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "same command" in err
    assert time.monotonic() - begin < 10
