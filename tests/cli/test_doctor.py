"""The output of `yolo-attn doctor`."""

from __future__ import annotations

import pytest
import ultralytics

import yolo_attn
from tests.cli.helpers import run
from yolo_attn.cli import doctor

BOTH = f"yolo-attn {yolo_attn.__version__} with Ultralytics {ultralytics.__version__}"


def test_names_of_any_length_are_separated_from_their_values() -> None:
    long = "a_package.a_module.a_class_with_a_long_name.a_method_with_another"
    report = {**doctor.examine(), "bindings": {long: True, "short": False}, "problems": []}
    lines = doctor.as_text(report).splitlines()
    assert f"{long}  registered" in lines
    assert f"{'short':<{len(long)}}  NOT registered" in lines


def test_both_versions_are_on_the_first_line() -> None:
    first, *others = doctor.as_text(doctor.examine()).splitlines()
    assert first == f"{BOTH} (supported: {yolo_attn.host.SUPPORTED})"
    assert not [line for line in others if line.startswith(("yolo-attn ", "ultralytics ")) and " from " not in line]


def test_help_prints_both_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help", capsys=capsys)[1].splitlines()[-1] == BOTH
    assert BOTH not in run("help", "layers", capsys=capsys)[1]


@pytest.mark.parametrize(
    ("able", "variable", "expected"),
    [
        (True, "", "checkpoints without the code they contain"),
        (True, "1", "YOLO_ATTN_TRUST is set"),
        (False, "", "from PyTorch 2.6 on without"),
    ],
)
def test_how_checkpoints_are_opened(able: bool, variable: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_attn.host.restricted.restricts_checkpoints", lambda: able)
    monkeypatch.setenv("YOLO_ATTN_TRUST", variable)
    (line,) = (line for line in doctor.as_text(doctor.examine()).splitlines() if line.startswith("checkpoints "))
    assert expected in " ".join(line.replace("opened", "").split())


def test_function_with_new_parameters_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_attn.host.binding.Binding.problem", "load has new parameters")
    assert "load has new parameters" in doctor.examine()["problems"]
