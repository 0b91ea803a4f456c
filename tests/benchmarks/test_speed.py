"""The benchmark of layers: turns, memory, floors, tables, peers and its command line, on tiny maps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.speed import command, measurement
from benchmarks.speed.earlier import ROOT
from benchmarks.speed.floor import Floor, Machine
from benchmarks.speed.measurement import Pair, Settings, measure, pairs
from benchmarks.speed.peers import PEERS, Peer, available
from benchmarks.speed.products import products_of
from benchmarks.speed.shapes import LEVELS, Level
from benchmarks.speed.summary import slower, summary, table
from benchmarks.speed.timing import Clock, interleaved, peak_bytes, quantiles
from yolo_attn.analysis.flops import flop_counter
from yolo_attn.errors import UserError
from yolo_attn.registry import get_layer, list_layers

CPU = torch.device("cpu")
TINY = Level("P5", 16, 6)
MAP = 4 * 16 * 6 * 6  # bytes


class FixedMachine(Machine):
    """A machine of known speed: 1 kB and 1 kFLOP per second."""

    matrix_rate = 1000.0  # type: ignore[assignment]

    def _bandwidth(self, map_bytes: int) -> float:
        return 1000.0


@pytest.fixture
def machine() -> Machine:
    return FixedMachine(CPU, torch.float32)


def test_runs_take_turns_and_the_first_changes() -> None:
    called: list[str] = []
    runs = {name: (lambda name=name: called.append(name)) for name in "ab"}
    times = interleaved(runs, Clock(CPU), seconds=0)
    assert "".join(called[-10:]) == "abbaabbaab"
    assert {name: len(found) for name, found in times.items()} == {"a": 5, "b": 5}


def test_quantiles() -> None:
    assert quantiles([float(n) for n in range(11)]) == {"median": 5, "p10": 1, "p90": 9}


def test_memory_of_a_step_includes_what_autograd_keeps() -> None:
    x = torch.randn(1, 16, 6, 6, requires_grad=True)

    def step() -> None:
        x.grad = None
        x.sigmoid().sigmoid().sigmoid().sum().backward()

    def product() -> Tensor:
        return (x * 2).sigmoid()

    with torch.no_grad():
        assert peak_bytes(product, CPU, [x]) == 2 * MAP
        assert peak_bytes(x.flatten, CPU, [x]) == 0
    # The backward pass begins with three maps that only autograd refers to, and makes a gradient.
    assert 4 * MAP <= peak_bytes(step, CPU, [x]) <= 4 * MAP + 8


def test_the_floor_of_a_convolution(machine: Machine) -> None:
    conv, x = nn.Conv2d(16, 16, 1, bias=False), torch.zeros(1, 16, 6, 6)
    weights, flops = 4 * 16 * 16, 2 * 16 * 16 * 36
    forward, train = Floor.of(conv, x, train=False), Floor.of(conv, x, train=True)
    assert forward == Floor(2 * MAP + weights, flops)
    assert train == Floor(5 * MAP + 3 * weights, 3 * flops)
    assert conv.training
    assert forward.milliseconds(machine, MAP) == flops  # more operations than bytes at equal rates


def test_the_speed_of_a_machine_is_measured() -> None:
    machine = Machine(CPU, torch.float32)
    assert machine.bandwidth(2**20) > 1e6
    assert machine.bandwidth(2**20) == machine.bandwidth(2**20)  # measured once


def test_the_levels_are_those_of_yolo() -> None:
    assert [(level.channels, level.side) for level in LEVELS.values()] == [(128, 80), (256, 40), (512, 20)]


# --- peers ------------------------------------------------------------------------------------------------------------


def test_peers_name_layers_and_valid_options() -> None:
    for peer in PEERS:
        peer.ours(64)
        assert peer.name.startswith(("timm ", "fightingcv-attention "))
    assert len({(peer.layer, peer.path) for peer in PEERS}) == len(PEERS)


@pytest.mark.parametrize(
    "peer", [peer for peer in PEERS if not peer.note], ids=lambda peer: f"{peer.layer} {peer.name}"
)
def test_peers_of_equal_arithmetic_have_equal_outputs(peer: Peer) -> None:
    if not available(peer):
        pytest.skip(f"{peer.package} is not installed")
    difference = Pair(get_layer(peer.layer), peer).difference(64)
    assert difference is not None and difference < 1e-5


class TheirSE(nn.Module):
    """SE as another library may have it: 1 x 1 convolutions, one with a bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels // 16, 1)
        self.second = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        factors: Tensor = self.second(self.first(x.mean((2, 3), keepdim=True)).relu())
        return x * factors.sigmoid()


@pytest.fixture
def their_se(monkeypatch: pytest.MonkeyPatch) -> Peer:
    module: Any = ModuleType("their_library")
    module.SE = TheirSE
    monkeypatch.setitem(sys.modules, "their_library", module)
    peer = Peer("SE", "theirs", "their_library.SE", lambda cls, channels, _: cls(channels))
    monkeypatch.setattr(measurement, "PEERS", (peer, Peer("CA", "missing", "missing_library.CA")))
    return peer


def test_a_peer_receives_our_weights(their_se: Peer) -> None:
    assert Pair(get_layer("SE"), their_se).difference(64) == pytest.approx(0, abs=1e-6)
    different = Peer("SE", "theirs", "their_library.SE", their_se.build, note="less")
    assert Pair(get_layer("SE"), different).difference(64) is None


@pytest.mark.parametrize("layout", ["tokens", "queries, keys, values", "channels last", "patches", "first output"])
def test_a_peer_for_another_layout_is_applied_to_maps(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(nn.Module):
        def forward(self, *xs: Tensor) -> Tensor | tuple[Tensor]:
            seen.append(tuple(xs[0].shape))
            return (xs[0] + 1,) if layout == "first output" else xs[0] + 1

    seen: list[tuple[int, ...]] = []
    module: Any = ModuleType("their_library")
    module.Theirs = Theirs
    monkeypatch.setitem(sys.modules, "their_library", module)
    peer = Peer("SE", "theirs", "their_library.Theirs", lambda cls, *_: cls(), layout=layout, note="other")
    x = torch.randn(2, 16, 3, 5)
    torch.testing.assert_close(peer.theirs(peer.ours(16), 16, 3)(x), x + 1)
    shapes = {"channels last": (2, 3, 5, 16), "patches": (2, 16, 1, 15), "first output": (2, 16, 3, 5)}
    assert seen == [shapes.get(layout, (2, 15, 16))]


def test_pairs(their_se: Peer) -> None:
    assert pairs(["SE", "CA"], peers_only=False) == [Pair(get_layer("SE"), their_se), Pair(get_layer("CA"))]
    assert pairs(["SE", "CA"], peers_only=True) == [Pair(get_layer("SE"), their_se)]
    assert len(pairs([], peers_only=False)) == sum(spec.built_in for spec in list_layers())


# --- measurements -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_a_pair_is_measured(their_se: Peer, machine: Machine, mode: str) -> None:
    pair = Pair(get_layer("SE"), their_se)
    row = measure(pair, TINY, machine, Settings(CPU, seconds=0), batch=2, mode=mode)
    assert (row["level"], row["batch"], row["mode"], row["peer"]) == ("P5", 2, mode, "theirs SE")
    assert row["ours"]["p10"] <= row["ours"]["median"] <= row["ours"]["p90"]
    assert row["ours"]["peak_mb"] >= 2 * MAP / 1e6 - 0.005
    assert row["floor"]["bytes"] >= 2 * 2 * MAP
    assert row["ratio"]["median"] > 0


def test_a_peer_that_fails_is_reported(their_se: Peer, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: nn.Module, x: Tensor) -> Tensor:
        raise ValueError("Expected more than 1 value per channel")

    monkeypatch.setattr(TheirSE, "forward", fail)
    pair = Pair(get_layer("SE"), their_se)
    found = measure(pair, TINY, machine, Settings(CPU, seconds=0), batch=1, mode="train")
    assert found["failure"] == "Expected more than 1 value per channel"
    assert "theirs" not in found and "ratio" not in found and found["ours"]["median"] > 0
    assert "fails" in table([found])


def test_a_layer_of_several_inputs_is_measured(machine: Machine) -> None:
    row = measure(Pair(get_layer("AFF")), TINY, machine, Settings(CPU, seconds=0), batch=1, mode="train")
    assert row["ours"]["median"] > 0 and "ratio" not in row and "floor" not in row


def test_training_measures_the_gradients_of_weights_and_input() -> None:
    layer, x = get_layer("SE").cls(16), torch.randn(1, 16, 6, 6, requires_grad=True)
    measurement._run(layer, [x], train=True)()
    gradients = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    measurement._run(layer, [x], train=True)()  # gradients are not added up
    for gradient, again in zip(gradients, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
        torch.testing.assert_close(gradient, again)


def row(ratio: float, memory: float, **more: Any) -> dict[str, Any]:
    spread = {"median": ratio, "p10": ratio, "p90": ratio}
    ours, theirs = {"median": ratio, "peak_mb": memory}, {"median": 1.0, "peak_mb": 1.0}
    about = {"layer": "SE", "level": "P3", "batch": 1, "mode": "forward", "peer": "theirs SE", "note": ""}
    return {**about, "ours": ours, "theirs": theirs, "ratio": spread, "floor": {"ms": 0.5}, **more}


def test_the_summary() -> None:
    rows = [row(0.5, 0.25), row(2.0, 1.0), row(1.05, 1.0, note="more"), row(1.06, 1.0, note="more")]
    text = summary(rows)
    assert (
        "equal arithmetic: 2 measurements of 1 pairs, geometric mean of ours / theirs: time 1.00, memory 0.50" in text
    )
    assert "other arithmetic (*): 2 measurements" in text
    assert "* SE beside theirs SE: more" in text
    assert [found["ratio"]["median"] for found in slower(rows)] == [2.0, 1.06]
    assert table(rows).splitlines()[1].split() == [
        "SE",
        "theirs",
        "SE",
        "P3",
        "1",
        "forward",
        "0.5",
        "1",
        "0.50",
        "0.50-0.50",
        "1.0",
        "0.25",
        "1",
    ]
    assert summary([{"layer": "SE", "ours": {"median": 1.0}}]) == ""


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_products_are_measured_alone(machine: Machine, mode: str) -> None:
    settings = Settings(CPU, seconds=0, products=True)
    found = measure(Pair(get_layer("SE")), TINY, machine, settings, batch=1, mode=mode)
    assert found["products"]["median"] > 0
    assert f"{found['products']['median']:.4g}" in table([found])


def test_products_are_all_counted_operations_and_nothing_else() -> None:
    x, conv = torch.randn(1, 8, 6, 6, requires_grad=True), nn.Conv2d(8, 8, 3)

    def step() -> None:
        tokens = conv(x).relu().flatten(2)
        attended = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens @ torch.ones(16, 16))
        attended.softmax(2).sum().backward()

    with flop_counter() as whole:
        step()
    again = products_of(step)
    with flop_counter() as alone:
        again()
    assert alone.get_total_flops() == whole.get_total_flops()
    with torch.profiler.profile() as profile:
        again()
    names = {event.key for event in profile.key_averages()}
    assert "aten::convolution_backward" in names and not names & {"aten::relu", "aten::softmax"}


# --- another commit ---------------------------------------------------------------------------------------------------


def has_commits() -> bool:
    """Return whether Git can read this repository, which is not there in a source distribution."""
    try:
        command = ["git", "-C", str(ROOT), "cat-file", "-e", "HEAD:yolo_attn"]
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


in_repository = pytest.mark.skipif(not has_commits(), reason="requires the repository")


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Python by itself, because the package of another commit registers itself in Ultralytics too."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)


@in_repository
def test_layers_of_another_commit_are_measured(tmp_path: Path) -> None:
    words = ["only=SE,AFF", "against=HEAD", "levels=P5", "modes=forward", "seconds=0", "products=True"]
    done = run_python("benchmarks/layers.py", *words, f"out={tmp_path / 'found.json'}")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["rows"]
    assert (found["layer"], found["peer"]) == ("SE", "HEAD") and found["ratio"]["median"] > 0
    assert "SE     HEAD" in done.stdout


CHANGED = """
import sys
from pathlib import Path
import pytest, torch, yolo_attn
from benchmarks.speed.earlier import Earlier, extract

folder = Path(sys.argv[1])
extract("HEAD", folder)
file = folder / "yolo_attn" / "layers" / "channel" / "se.py"
file.write_text(file.read_text(encoding="utf-8") + "\\nSE.other = True\\n", encoding="utf-8")
modules = {name: module for name, module in sys.modules.items() if name.startswith("yolo_attn")}
peer = Earlier("SE", "HEAD", "", folder=folder)
ours = peer.ours(16)
theirs = peer.theirs(ours, 16, 6)
assert theirs.other and not hasattr(ours, "other")
assert {name: module for name, module in sys.modules.items() if name.startswith("yolo_attn")} == modules
x = torch.randn(1, 16, 6, 6)
torch.testing.assert_close(theirs(x), ours(x))
with pytest.raises(yolo_attn.UserError, match=r"^against=HEAD: it has no SE with these weights \\(Error"):
    peer.theirs(peer.ours(32), 16, 6)
"""


@in_repository
def test_a_layer_of_another_commit_is_built_from_its_files(tmp_path: Path) -> None:
    done = run_python("-c", CHANGED, str(tmp_path))
    assert done.returncode == 0, done.stderr


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_measures_and_writes(
    their_se: Peer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "LEVELS", {"P5": TINY})
    monkeypatch.setattr(command, "Machine", FixedMachine)
    file = tmp_path / "found.json"
    assert command.main(["--only", "SE,CA", "seconds=0", "batch=1,2", f"out={file}"]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [(r["layer"], r["batch"], r["mode"]) for r in found["rows"][:3]] == [
        ("SE", 1, "forward"),
        ("SE", 1, "train"),
        ("SE", 2, "forward"),
    ]
    assert len(found["rows"]) == 8
    assert found["hardware"] and torch.__version__.startswith(found["versions"]["torch"]) and not found["compile"]
    assert "equal arithmetic: 4 measurements of 1 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["only=Se"], "did you mean SE?"),
        (["levels=P9"], "levels=P9: use P3, P4, P5"),
        (["modes=backward"], "modes=backward: use forward, train"),
        (["dtype=int8"], "dtype=int8: use float32, bfloat16, float16"),
        (["device=gpu"], "device=gpu: use cpu, or the number of a GPU"),
        (["device=99"], "device=99: this machine has"),
        (["batch=0"], "batch=0: use an integer"),
        (["seconds=fast"], "seconds=fast: use a number"),
        (["seconds=1", "levl=P3"], "unknown key 'levl'"),
        (["only=NAM", "peers=True"], "no peer of these layers is installed"),
        (["only=SE", "against=HEAD", "peers=True"], "layers are measured beside either"),
        (["only=AFF", "against=HEAD"], "layers with several inputs have no peer"),
        (["only=SE", "against=nothing"], "against=nothing: "),
        (["compile=True", "products=True"], "the operators of compiled code are not seen"),
    ],
)
def test_invalid_words_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_unequal_peers_are_an_error(their_se: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pair, "difference", lambda self, channels: 0.1)
    plan = command.parse(["only=SE", "levels=P5", "seconds=0"])
    with pytest.raises(UserError, match="SE and theirs SE differ by"):
        command.execute(plan)
