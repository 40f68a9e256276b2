"""The papers' networks: their size, their loss at the start, what `faithful` changes, and the recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import data, drawn, loop, protocol, triplets  # noqa: E402
from twinscope.train.papers_sn import SN, Moments, local_response, metric, triplet_loss  # noqa: E402


def pictures(count: int, seed: int = 0) -> data.Bytes:
    return np.stack(drawn.family(np.random.default_rng(seed), list(range(count))))


@pytest.mark.parametrize(("version", "parameters"), [("v01", 8_838_242), ("v02", 8_827_250)])
@pytest.mark.parametrize("faithful", [True, False])
def test_parameters_are_those_of_the_papers(version: str, parameters: int, faithful: bool) -> None:
    assert sum(p.numel() for p in SN(version, faithful).parameters()) == parameters


@pytest.mark.parametrize("version", ["v01", "v02"])
def test_the_loss_at_the_start_is_that_of_distance_nought(version: str) -> None:
    torch.manual_seed(0)
    network = SN(version, faithful=True)
    with torch.inference_mode():
        value, far = triplet_loss(network, torch.rand(4, 3, 128, 128) * 255)
    assert float(value) / 4 == pytest.approx(1.626, abs=0.03)
    assert far.shape == (4, 2)


def test_equation_1_and_4_by_hand() -> None:
    alpha = torch.tensor([0.5, -1.0, 2.0])
    x, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 4.0, 3.5]])
    assert float(metric(alpha, x, y)) == pytest.approx(0.5 - 2 + 1)

    class Given(torch.nn.Module):
        faithful = False
        alpha = torch.ones(1)

        def forward(self, grey: torch.Tensor, branch: int = 0) -> torch.Tensor:
            return grey.mean((1, 2, 3))[:, None]

    views = torch.tensor([0.0, 0.25, 3.0])[None, :, None, None].expand(1, 3, 4, 4)
    near, far = 1 / (1 + np.exp(-(1 - 0.25))), 1 / (1 + np.exp(-(1 - 3.0)))
    value, f = triplet_loss(Given(), views)  # type: ignore[arg-type]
    assert float(value) == pytest.approx(-(np.log(near) + np.log(1 - far)), rel=1e-5)
    assert f.tolist() == [[0.25, 3.0]]
    Given.faithful = True  # equation 3: between the second and the third branch
    assert triplet_loss(Given(), views)[1].tolist() == [[0.25, 2.75]]  # type: ignore[arg-type]


def test_alpha_is_free_only_if_faithful() -> None:
    torch.manual_seed(1)
    assert (SN(faithful=True).alpha < 0).any()
    assert (SN().alpha >= 0).all()


def test_faithful_branches_have_moments_of_their_own() -> None:
    torch.manual_seed(0)
    faithful, mended = SN(faithful=True).train(), SN().train()
    views = torch.rand(3, 3, 128, 128) * torch.tensor([255.0, 120.0, 60.0])[None, :, None, None]
    for network in (faithful, mended):
        triplet_loss(network, views)
    first = faithful.blocks[0].moments
    assert first.mean.shape == (3, 1)
    assert torch.allclose(first.mean[:, 0], 0.1 * torch.tensor([0.5, 0.235, 0.118]), atol=0.01)  # of the raw picture
    assert mended.blocks[0].moments.mean.abs().max() < 1e-5  # of the standardised one


def test_moments_normalise_and_follow() -> None:
    layer, x = Moments(2, 1).train(), 3 + 2 * torch.randn(400, 2, 4, 4)
    out = layer(x, 0)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(2), atol=1e-2)
    for _ in range(80):
        layer(x, 0)
    layer.eval()
    assert torch.allclose(layer(x, 0), out, atol=0.02)


def test_local_response_by_hand() -> None:
    x = torch.zeros(1, 14, 1, 1)
    x[0, 0], x[0, 5], x[0, 13] = 2.0, 1.0, 3.0
    out = local_response(x).flatten()
    assert float(out[0]) == pytest.approx(2 / (1 + 4 + 1) ** 0.5)  # channels 0 to 5
    assert float(out[13]) == pytest.approx(3 / (1 + 9) ** 0.5)


def test_maps_have_the_sizes_of_the_segmentation() -> None:
    with torch.inference_mode():
        maps = SN().eval().maps(torch.rand(1, 1, 64, 96) * 255)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 32, 48), (32, 16, 24), (64, 8, 12), (128, 4, 6)]


def test_each_pass_pairs_a_permutation_with_its_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def note(one: data.Bytes, other: data.Bytes, rng: data.Rng, plan: triplets.Plan) -> data.Bytes:
        seen.append((int(one[0, 0]), int(other[0, 0])))
        return np.zeros((3, 128, 128), np.uint8)

    monkeypatch.setattr(triplets, "triplet", note)
    numbered = np.zeros((7, 256, 256), np.uint8) + np.arange(7, dtype=np.uint8)[:, None, None]
    batches = triplets.Triplets(numbered, triplets.Plan(batch=7, steps=3), 0)
    for step in range(2):
        batches[step]
    first, second = seen[:7], seen[7:]
    assert {a for a, _ in first} == {a for a, _ in second} == set(range(7))
    assert [a for a, _ in first] != [a for a, _ in second]
    assert all(first[-k - 1][0] == b for k, (_, b) in enumerate(first) if k != 3)
    assert all(a != b for a, b in seen)


def test_faithful_triplets_deform_only_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinscope.manipulate.clutter", lambda image, rng: data.manipulate.chain(image, rng, []))
    one, other = pictures(2)
    faithful = triplets.Plan(faithful=True)
    deformed = {True: 0, False: 0}
    for seed in range(12):
        for plan in (faithful, triplets.Plan(manipulations="geometric")):
            parts = triplets.triplet(one, other, np.random.default_rng(seed), plan)
            assert np.array_equal(parts[0], one[64:192, 64:192])
            deformed[plan.faithful] += not np.array_equal(parts[2], other[64:192, 64:192])
    assert deformed[True] == 0
    assert deformed[False] > 3


@pytest.mark.parametrize("faithful", [True, False])
def test_geometry_alone_leaves_the_minimum_as_it_is(faithful: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinscope.manipulate.clutter", lambda image, rng: data.manipulate.chain(image, rng, []))
    monkeypatch.setattr("twinscope.manipulate.presets.clutter", lambda image, rng: (image, np.eye(3), image > 9))
    one, other = 100 + pictures(2) // 2
    lowest = {
        how: np.min([
            [part.min() for part in triplets.triplet(one, other, np.random.default_rng(seed), plan)]
            for seed in range(30)
        ], axis=0)
        for how in ("v02", "geometric") if (plan := triplets.Plan(manipulations=how, faithful=faithful))
    }  # fmt: skip
    plain = [one[64:192, 64:192].min(), other[64:192, 64:192].min()]
    assert lowest["geometric"][0] == plain[0] >= 100
    assert lowest["v02"][1] < 10  # what is deformed
    assert lowest["v02"][0] == (plain[0] if faithful else 0)
    if faithful:
        assert lowest["v02"][2] == lowest["geometric"][2] == plain[1]


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[triplets.Plan, Path]:
    """Return what the command line would train, and where."""
    told: list[tuple[triplets.Plan, Path]] = []
    monkeypatch.setattr(sys, "argv", ["triplets", *arguments])
    monkeypatch.setattr(loop, "bf16_is_quicker", lambda: False)
    monkeypatch.setattr(triplets, "grey_windows", lambda split, rng, many: pictures(3))
    monkeypatch.setattr(triplets, "train", lambda a, b, plan, folder, watch: told.append((plan, folder)))
    triplets.main()
    return told[0]


@pytest.mark.parametrize(
    ("arguments", "batch", "every", "name"),
    [
        ("--version v01 --faithful", 256, 10, "sn-v01-faithful"),
        ("--version v02 --faithful --manipulations geometric", 128, 10, "sn-g-v02-faithful"),
        ("--version v01", 128, 50, "sn-v01"),
        ("--version v01 --faithful --batch 8 --every 3", 8, 3, "sn-v01-faithful"),
        ("--batch 9", 9, 50, "sn-v02"),
    ],
)
def test_faithful_runs_take_the_batch_and_the_looks_of_the_papers(
    arguments: str, batch: int, every: int, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan, folder = asked(monkeypatch, *arguments.split(), "--runs", str(tmp_path), "--threads", "2", "--steps", "7")
    assert (plan.batch, plan.every, folder) == (batch, every, tmp_path / name)
    assert (plan.threads, plan.steps, plan.faithful) == (2, 7, "--faithful" in arguments)


def test_a_run_goes_on_only_as_what_it_began(tmp_path: Path) -> None:
    plan = triplets.Plan(steps=1, batch=4, every=1, fixed=5, bf16=False)
    training, folder = pictures(4), tmp_path / "run"
    triplets.train(training, training, plan, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other, told in (
        (plan._replace(version="v01"), "version v02, not v01"),
        (plan._replace(manipulations="geometric"), "manipulations v02, not geometric"),
        (plan._replace(faithful=True), "faithful False, not True"),
        (plan._replace(batch=3, faithful=True), "faithful False, not True; batch 4, not 3"),
    ):
        with pytest.raises(UsageError) as refused:
            triplets.train(training, training, other, folder)
        begin, end = f"the run in {folder} began with another plan", "give another --name, or the options that it"
        assert str(refused.value) == f"{begin} ({told}); {end} began with"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    triplets.train(training, training, plan._replace(steps=2, minutes=9.0, fixed=6, threads=2), folder)
    assert (folder / "curve.csv").read_text().splitlines()[-1].startswith("2,")


@pytest.mark.parametrize("record", [None, "{", "[]", '{"plan": {"version": "v02"}}'])
def test_a_checkpoint_of_an_unknown_plan_is_refused(record: str | None, tmp_path: Path) -> None:
    (tmp_path / "last.pt").touch()
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(UsageError, match=r"does not say what run .* give another --name"):
        triplets.check(triplets.Plan(), tmp_path)


def test_the_command_line_refuses_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "last.pt").touch()
    (folder / "run.json").write_text(json.dumps({"plan": triplets.Plan()._asdict()}))
    assert asked(monkeypatch, "--name", "mine", "--runs", str(tmp_path))[1] == folder
    monkeypatch.setattr(triplets, "grey_windows", lambda *args: pytest.fail("read before it was refused"))
    monkeypatch.setattr(sys, "argv", ["triplets", "--faithful", "--name", "mine", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        triplets.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: the run in {folder} began with another plan (faithful False, not True); give")
    assert told.count("\n") == 1


def interrupt(*args: object) -> dict[str, float]:
    raise KeyboardInterrupt


@pytest.mark.parametrize("faithful", [True, False])
def test_the_recipe_runs_and_goes_on(faithful: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = triplets.Plan(faithful=faithful, steps=2, batch=4, every=1, fixed=8, bf16=False)
    training, validation = pictures(8), pictures(6, seed=1)
    triplets.train(training, validation, plan, tmp_path / "whole")
    with monkeypatch.context() as patch:
        looks = iter([triplets.judge])
        patch.setattr(triplets, "judge", lambda *args: next(looks, interrupt)(*args))
        with pytest.raises(KeyboardInterrupt):
            triplets.train(training, validation, plan, tmp_path / "parts")
    best = triplets.train(training, validation, plan, tmp_path / "parts")
    whole, parts = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "parts"))
    for name, value in whole["network"].items():
        assert torch.allclose(value, parts["network"][name], atol=1e-6), name
    rows = (tmp_path / "parts" / "curve.csv").read_text().splitlines()
    assert rows[0] == "step,seconds,loss,batch_accuracy,val_loss,val_accuracy"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2"]
    network = triplets.load(best)
    assert network.faithful is faithful
    saved = torch.load(best, weights_only=True)["network"]
    assert all(torch.equal(value, saved[name]) for name, value in network.state_dict().items())
    views = validation[:, 64:192, 64:192]
    test = protocol.Classes(np.stack([views, views], 1), [data.Window(k, k, 0, "", "", (0, 0, 1, 1)) for k in range(6)])
    weights = network.alpha.detach().numpy()
    found = protocol.distances(lambda x: triplets.embed(network, x), test, weights)
    assert np.allclose(found.same(), 0, atol=1e-5)
    x, y = (torch.as_tensor(triplets.embed(network, views[k : k + 1])) for k in (0, 1))
    assert found.cross[0, 1, 0] == pytest.approx(float(metric(network.alpha.detach(), x, y)), abs=1e-5)


def torn(patch: pytest.MonkeyPatch, name: str, turn: int) -> None:
    """Make the `turn`-th writing of a checkpoint of this name an interruption."""
    written, save = [], loop.save

    def call(path: Path, content: dict[str, object]) -> None:
        written.append(path.name)
        if written.count(name) == turn and path.name == name:
            raise KeyboardInterrupt
        save(path, content)

    patch.setattr(loop, "save", call)


@pytest.mark.parametrize(("name", "turn"), [("last.pt", 1), ("last.pt", 2), ("best.pt", 1)])
def test_a_look_that_was_torn_is_taken_again(
    name: str, turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = triplets.Plan(steps=turn, batch=4, every=1, fixed=5, bf16=False)
    with monkeypatch.context() as patch:
        torn(patch, name, turn)
        with pytest.raises(KeyboardInterrupt):
            triplets.train(pictures(4), pictures(4), plan, tmp_path)
    assert triplets.train(pictures(4), pictures(4), plan, tmp_path).exists()
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", *(str(k + 1) for k in range(turn))]


def test_a_run_whose_minutes_are_over_is_finished(tmp_path: Path) -> None:
    plan = triplets.Plan(minutes=1e-6, batch=4, every=1, fixed=5, bf16=False)
    triplets.train(pictures(4), pictures(4), plan, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before["curve.csv"].count(b"\n") == 2
    triplets.train(pictures(4), pictures(4), plan, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_runs_of_the_protocol() -> None:
    cross = np.full((8, 8, 3), 2.0, np.float32)
    for k in range(8):
        cross[k, k] = 0.5
    unsure = np.zeros((8, 8), bool)
    unsure[0, 1:7] = True  # class 0 may only be told from class 7
    cross[0, 1:7] = 0.1
    right = protocol.runs(protocol.Distances(cross, unsure), np.random.default_rng(0))
    assert right.tolist() == [1.0] * 10
    cross[:, :, 1] = 0.5  # one version in three looks the same as all
    cross[0, 1:7] = 0.1
    wrong = protocol.runs(protocol.Distances(cross, unsure), np.random.default_rng(0), 200)
    assert wrong.mean() == pytest.approx(1 - 0.5 / 3, abs=0.02)
