"""Custom layers from files: their import, and the copies of their sources for other processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolo_attn
from tests.host.helpers import python
from yolo_attn import UserError, registry
from yolo_attn.layer_files import import_copied, load_layers, module_name, sources_of, split_files

LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate
{imports}

@register_layer(family="channel", summary="scales each channel by its mean")
class MeanGate(Gate):
    factor = {factor}
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""


def write(path: Path, imports: str = "", factor: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LAYER.format(imports=imports, factor=factor))
    return path


@pytest.fixture(autouse=True)
def _clean(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the modules and paths that a test imports."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in set(sys.modules) - modules:
        if str(fresh_folder) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
    if registry.is_layer("MeanGate"):
        registry.unregister_layer("MeanGate")


def test_a_file_is_the_module_that_an_import_finds() -> None:
    assert load_layers([write(Path("mine/my_layers.py"))]) == ["my_layers"]
    import my_layers

    assert yolo_attn.get_layer("MeanGate").cls is my_layers.MeanGate
    assert my_layers.MeanGate.__module__ == "my_layers"


def test_a_file_of_a_package_is_its_module() -> None:
    write(Path("mine/gates/mean.py"), imports="from .. import helpers")
    for file in ("mine/__init__.py", "mine/gates/__init__.py", "mine/helpers.py"):
        Path(file).touch()
    assert load_layers(["mine/gates/mean.py"]) == ["mine.gates.mean"]
    sources = sources_of(["mine.gates.mean"])
    assert set(sources.files) == {
        "mine/__init__.py", "mine/helpers.py", "mine/gates/__init__.py", "mine/gates/mean.py",
    }  # fmt: skip
    assert sources.main_files == ["mine/gates/mean.py"]


def test_an_edited_file_is_imported_again_with_its_helpers() -> None:
    Path("helpers.py").write_text("value = 1")
    file = write(Path("my_layers.py"), imports="import helpers")
    load_layers([file])
    first = yolo_attn.get_layer("MeanGate").cls
    load_layers([file])
    assert yolo_attn.get_layer("MeanGate").cls is first
    write(file, imports="import helpers", factor=2)
    Path("helpers.py").write_text("value = 234")
    load_layers([file])
    assert yolo_attn.get_layer("MeanGate").cls.factor == 2
    assert sys.modules["helpers"].value == 234


def test_the_users_modules_are_copied_and_installed_ones_are_not() -> None:
    Path("helpers.py").write_text("import more_helpers, numpy, json, yaml\n")
    Path("more_helpers.py").write_text("def late():\n    import late_helpers\n")
    Path("late_helpers.py").write_text("import helpers\n")
    Path("unrelated.py").write_text("")
    load_layers([write(Path("my_layers.py"), imports="from helpers import *\nimport torch, cv2")])
    sources = sources_of(["my_layers"])
    assert set(sources.files) == {"my_layers.py", "helpers.py", "more_helpers.py", "late_helpers.py"}
    before = sources.digest
    Path("late_helpers.py").write_text("import helpers  # edited\n")
    assert sources_of(["my_layers"]).digest != before


@pytest.mark.slow
def test_copied_files_take_precedence_over_the_originals(tmp_path: Path) -> None:
    write(Path("my_layers.py"))
    sources = sources_of(load_layers(["my_layers.py"]))
    for name, content in sources.files.items():
        (tmp_path / "kept" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "kept" / name).write_bytes(content)
    write(Path("my_layers.py"), factor=5)
    code = """
import sys
from pathlib import Path
import yolo_attn
from yolo_attn.layer_files import import_copied, sources_of
import_copied(Path(sys.argv[1]), ["my_layers"])
print(yolo_attn.get_layer("MeanGate").cls.factor, sources_of(["my_layers"]).digest)
"""
    assert python(code, "kept", cwd=tmp_path).stdout.split() == ["1", sources.digest]


def test_a_folder_with_a_comma_is_refused_before_a_resumed_training_or_a_search_needs_it(tmp_path: Path) -> None:
    file = tmp_path / "a,b" / "comma_layers.py"
    file.parent.mkdir()
    file.touch()
    with pytest.raises(UserError, match=r"the comma in .*a,b would separate two files; move the file"):
        load_layers([file])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nowhere.py", None, r"layers=nowhere\.py: no such file \(from the folder"),
        ("notes.txt", "", r"layers=notes\.txt: not a Python file"),
        ("my-layers.py", "", r"layers=my-layers\.py: 'my-layers' cannot name a Python module"),
        ("random.py", "", r"layers=random\.py: another module is already called 'random'.*; rename the file"),
        ("yaml.py", "", r"layers=yaml\.py: another module is already called 'yaml' \(.*yaml\); rename"),
        ("bare.py", "x = 1", r"layers=bare\.py: registers no layer; write @yolo_attn\.register_layer"),
        ("torn.py", "def (", r"layers=torn\.py: SyntaxError: .*torn\.py, line 1\)"),
        ("lost.py", "\nimport not_there", r"layers=lost\.py: line 2: ModuleNotFoundError: No module named 'not_there'"),
        (
            "taken.py",
            LAYER.replace("MeanGate", "SE"),
            r"layers=taken\.py: line 6: .*'SE' is taken by yolo_attn\.layers",
        ),
    ],
)
def test_an_invalid_file_is_one_line(name: str, text: str | None, words: str) -> None:
    if text is not None:
        Path(name).write_text(text.format(imports="", factor=1) if "{" in text else text)
    with pytest.raises(UserError, match=words) as caught:
        load_layers([name])
    assert "\n" not in str(caught.value)
    assert getattr(sys.modules.get("torn") or sys.modules.get("lost"), "__file__", None) is None


@pytest.mark.parametrize("value", ["", "a.py,,b.py", [""], 3])
def test_values_that_do_not_name_files(value: object) -> None:
    with pytest.raises(UserError, match="layers="):
        split_files(value)


def test_files_in_python_and_on_the_command_line() -> None:
    assert split_files("a.py, b.py") == split_files(["a.py", Path("b.py")]) == ("a.py", "b.py")
    assert split_files(Path("a.py")) == ("a.py",)
    assert split_files([]) == ()


def test_names_of_modules() -> None:
    assert [module_name(file) for file in ("a.py", "a/b.py", "a/__init__.py")] == ["a", "a.b", "a"]


def test_a_missing_copy_of_a_module_is_one_line() -> None:
    with pytest.raises(UserError, match="layers: not_there cannot be imported here: ModuleNotFoundError"):
        import_copied(Path("layers"), ["not_there"])


@pytest.mark.slow
def test_a_script_may_name_itself(tmp_path: Path) -> None:
    """The script runs as `__main__` and is imported as a module; the second class replaces the first."""
    script = write(tmp_path / "train_it.py")
    script.write_text(
        script.read_text()
        + "if __name__ == '__main__':\n"
        + "    from yolo_attn.layer_files import load_layers\n"
        + "    print(load_layers([__file__]), register_layer.__globals__['get_layer']('MeanGate').cls.__module__)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['train_it'] train_it", done.stderr


def test_a_link_of_another_name_is_its_file() -> None:
    write(Path("real/real_layers.py"))
    Path("links").mkdir()
    Path("links/mine.py").symlink_to(Path("real/real_layers.py").resolve())
    assert load_layers(["links/mine.py"]) == ["real_layers"]
