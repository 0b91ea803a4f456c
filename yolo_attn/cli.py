"""The `yolo-attn` command: Ultralytics' own verbs with our layers known, and verbs of ours, in one grammar.

Exit status 0 when all went well, 2 with one line for a mistake in what was given, 130 after Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from yolo_attn import api
from yolo_attn.errors import UserError, did_you_mean, first_line, plain
from yolo_attn.host.values import LARGEST_SIDE
from yolo_attn.security.trust import RESTRICTED_FROM, TRUST, trusting
from yolo_attn.system.failures import FULL_DISK, NOT_WRITABLE, disk_error, is_disk_full, is_out_of_memory
from yolo_attn.system.files import is_file, is_folder, shortened

__all__ = ["main"]

HELP = """\
yolo-attn: attention layers for Ultralytics YOLO

  yolo-attn VERB key=value ...        (--key value and --key=value are the same)

Ultralytics' verbs, with the layers known (same arguments, same output):
  train val predict track export benchmark tune    (also: settings, checks, cfg, version)
    yolo-attn train model=yolo11n-cbam.yaml data=digits recipe=digits
    yolo-attn val model=runs/detect/train/weights/best.pt data=digits

Ours:
  layers    list the attention layers; `layers CBAM` shows one      [family=channel] [format=json]
  place     put a layer into a model YAML: indices shift, readers follow
  lint      find the mistakes of a hand-made model YAML             [format=json]
  compare   train a base, variants and controls with common starts and seeds; verdicts with intervals
  report    make a study's reports again: table, CSV, Markdown, LaTeX, HTML
  profile   parameters, GFLOPs, latency and memory, row by row or model beside model  [format=json]
  maps      where the attention layers of a model look on pictures  [format=json]
  doctor    show what is installed and whether it fits together     [format=json]

Layers of your own, in any of these:  layers=my_layers.py  (see: yolo-attn help layers)
Files that may run the code they hold, in any of these:  trust=True  (see: yolo-attn help trust)

  yolo-attn help VERB     more about one verb
"""

HELP_OF = {
    "trust": f"""\
yolo-attn VERB ... trust=True

Files from someone else can hold code. Without trust=True no command runs it:

  checkpoints    those with classes of Ultralytics, PyTorch and registered layers are opened, others refused (from
                 {RESTRICTED_FROM} on; earlier releases open everything: see yolo-attn doctor)
  model YAMLs    rows name layers, activations are modules with plain arguments (also with trust=True)
  data YAMLs     a download: that is a script is not run, an https address of an archive is downloaded
  label caches   read as plain data; any other cache is made again

trust=True opens all of these as Ultralytics does; {TRUST}=1 in the environment says the same for every command
and for Python. Stock `yolo` opens everything; there ULTRALYTICS_SAFE_LOAD=1 restricts checkpoints. A layer of yours is
registered by layers=FILE, or by the entry point of its package. docs/trust.md says what runs code when.
""",
    "layers": """\
yolo-attn layers [NAME] [family=FAMILY] [format=json]

Lists every attention layer, or shows one: what it computes, its paper, its options, the YAML row to paste.

A layer of your own is a class with the decorator @yolo_attn.register_layer(...) in a Python file. Every command takes
such files as layers=my_layers.py (several with commas): train, val, predict, export, compare, place, lint, ....

  yolo-attn layers
  yolo-attn layers family=channel
  yolo-attn layers CBAM
""",
    "place": """\
yolo-attn place model=MODEL layer=LAYER at=SITES [out=FILE] [exist_ok=True] [option=value ...]

Writes a whole model YAML with the layer behind every site, and says what that changes. Indices shift, every reader of
a site reads the new row, and pretrained weights of the base transfer whole.

  model      a model YAML (yolo11n.yaml), a checkpoint (yolo11n.pt), either with layers (yolo11n.yaml+SE@neck)
  at         neck, neck.P3 ..., backbone, backbone.P4 ..., backbone.end, after:<row>; several with commas
  out        the file to write (yolo11-cbam-neck.yaml; foo is foo.yaml); an existing one is kept unless exist_ok=True
  the rest   the layer's options: init=identity reduction=8 ...

  yolo-attn place model=yolo11n.yaml layer=CBAM at=neck.P4,neck.P5 init=identity
""",
    "lint": """\
yolo-attn lint model=FILE [format=json]

Checks a hand-made model YAML: unknown names, options, a from that dangles or points forward, rows that nobody reads,
skips that read past a layer, a head at the wrong strides, and, against the stock model it was made from, rows whose
indices were not shifted; a name that asks for a scale that the file does not have. Each finding names file and line.
Exit status 1 when something is found.
""",
    "report": """\
yolo-attn report from=DIR [data=DATA] [out=DIR]

Computes a study's results again from the matches that its runs stored, without training, and writes results.json, .csv,
.md, .tex (booktabs) and report.html, one file that needs no network. Prints the table.

  from       the folder of a study, such as runs/compare/exp
  data       the dataset whose images the page shows; needed for a study that was made by somebody else or elsewhere
  out        where the files go (the study's folder); given, it works while compare runs in the study's folder, too
""",
    "profile": """\
yolo-attn profile model=MODEL[,MODEL ...] [against=MODEL] [imgsz=640] [device=DEVICE] [rounds=30] [format=json]

Shows what a model costs: parameters, operations counted while it runs, latency of one image, peak memory. One model is
shown row by row, several side by side with their ratios to the first.

  model      model YAMLs (yolo11n-cbam.yaml), checkpoints (best.pt), or layers on a base (yolo11n.yaml+CBAM@neck)
  against    the model that the others are compared with
  device     cpu, or the number of a GPU (the first one where there is one)
  rounds     measured passes of each model; the models take turns

  yolo-attn profile model=yolo11n-cbam.yaml,yolo11n-gam.yaml against=yolo11n.yaml
""",
    "maps": """\
yolo-attn maps model=MODEL source=PICTURES [imgsz=640] [project=runs] [name=maps] [exist_ok=True] [format=json]

Writes a PNG for each picture with the maps of every attention layer over it, in one colour scale from P3 to P5, and
shows what the gates do: mean, spread, the share that is shut or passes all; a gate that is the same everywhere is named
as dead. Layers without weights to look at are named, and get no map.

  model      a checkpoint (best.pt); a model YAML gives the maps of an untrained model
  source     an image, a folder of images, or the name of a dataset (digits), for its validation images
  imgsz      pixels of the longer side (as in training)

  yolo-attn maps model=runs/detect/train/weights/best.pt source=digits
""",
    "doctor": """\
yolo-attn doctor [format=json]

Shows the versions, which Ultralytics is imported and from where, whether the layers are registered in it,
the devices, and the folders in use. Exit status 1 when something does not fit.
""",
    "compare": """\
yolo-attn compare [study=FILE] [base=MODEL] [data=DATA] [variants=A,B] [controls=null,width] [seeds=N] [workers=N]
                  [project=DIR] [name=NAME] [key=value]

Trains the base, every variant and every control, once for each seed, each run in its own process, from common starts,
and writes report.html, results.json, .csv, .md and .tex; the page is there from the first finished run on and follows
the study. Without arguments: the built-in dataset, a small base, three variants and the null control, within a quarter
of an hour on two CPU cores.

  base       a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)
  variants   Layer@site on the base, or a model YAML: SE@neck,CBAM[reduction=8]@backbone.P5,yolo11n-gam.yaml
             sites: neck, neck.P3 ..., backbone, backbone.P4 ..., backbone.end, after:<row>, inside:<block>
  controls   null (identity layers at the variants' sites), width (a base as large as the largest variant)
  seeds      a number (3 means 0,1,2) or a list (0,7,42); below three there is no verdict
  data       digits, a name from datasets.yaml, or the path of a data YAML
  recipe     the training arguments that datasets.yaml has for a dataset (with data=digits its own is the default)
  exist_ok   True adds to the study that the folder holds
  retry      True runs failed runs again
  threads    CPU threads of a run (the cores, shared out to the runs at once); a study keeps those that it began with
  device     as Ultralytics takes it: cpu, mps, 0, or 0,1 for its multi-GPU training inside each run
  layers     Python files with layers of your own: layers=my_layers.py
  workers    runs at once on this machine (one for each GPU, or as many as have cores), memory permitting
  runner     ray sends the runs to a Ray cluster, address= as in Ray (pip install "yolo-attn[ray]")
  the rest   Ultralytics' training arguments: epochs=100 imgsz=640 batch=16 lr0=0.01 ...

Before it trains it tells the expected time and the smallest difference that it can be expected to find. The same
command again goes on where it was, half-trained runs too: no run is done twice. A study file holds base, data,
variants, controls, seeds and train: {epochs: 100, ...}; in it, train: {workers: 8} means Ultralytics' data loaders.
""",
}

_OPEN_NOTHING = ("layers", "report", "doctor")  # that someone else could have made, but for data without code
STOCK_VERBS = ("train", "val", "predict", "track", "export", "benchmark", "tune")
STOCK_SPECIAL = ("settings", "checks", "cfg", "copy-cfg", "version", "solutions")
STOCK_TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")


_WITH_LAYERS = ("layers", "place", "lint", "compare", "profile", "maps", *STOCK_VERBS, *STOCK_TASKS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The words after the program's name; the process's own by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except UserError as error:
        return _complain(str(error))
    except KeyboardInterrupt as stop:
        print("\n" * sys.stderr.isatty() + f"yolo-attn: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        mistake = _circumstance(error)
        if mistake is None:
            raise
        return _complain(mistake)


def _circumstance(error: Exception) -> str | None:
    """Return one line for an error that is no bug of ours: a file, the disk, the memory, a stock row; else None."""
    if isinstance(error.__cause__, UserError):  # a message of ours in one of Ultralytics' own
        return str(error.__cause__)
    if is_out_of_memory(error):
        return "not enough memory; give a smaller imgsz= or batch="
    if isinstance(error, OSError) and error.errno in FULL_DISK | NOT_WRITABLE:
        return str(disk_error(error, Path(error.filename or "the output")))
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{str(error.filename)[:200]}: {error.strerror}"
    from yolo_attn.host.parser import build_fault

    return build_fault(error)


def _complain(message: str) -> int:
    """Print one line about a user's mistake and return its exit status."""
    print(f"yolo-attn: {plain(message)}", file=sys.stderr)
    return 2


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("help", "-h", "--help"):
        return _help(words[1:])
    verb = words[0]
    if verb == "--version":
        return _version()
    if verb in (*OUR_VERBS, *STOCK_VERBS) and {"-h", "--help"} & set(words):
        return _help([verb])
    if verb in (*OUR_VERBS, *STOCK_VERBS, *STOCK_TASKS):
        words = _without_dashes(words)
    if verb in _WITH_LAYERS:
        words = _load_layers(words)
    if verb in _OPEN_NOTHING:
        return OUR_VERBS[verb](words[1:])
    if verb in (*OUR_VERBS, *STOCK_VERBS, *STOCK_TASKS, *STOCK_SPECIAL):
        return _open_files(words)
    hint = did_you_mean(verb, (*OUR_VERBS, *STOCK_VERBS)) or "; see: yolo-attn help"
    raise UserError(f"unknown verb {verb!r}{hint}")


def _load_layers(words: list[str]) -> list[str]:
    """Import the files of `layers=`, and return the other words; `compare` imports them with the rest of its study."""
    given = [word for word in words if word.startswith("layers=")]
    if not given or words[0] == "compare":
        return words
    from yolo_attn.layer_files import load_layers, split_files

    load_layers(split_files(_keys(given)["layers"]))
    return [word for word in words if word not in given]


def _open_files(words: list[str]) -> int:
    """Run a command that opens what the user may have from someone else; no code in it runs without trust=True."""
    from yolo_attn.host.restricted import restricted

    given = [word for word in words if word.startswith("trust=")]
    choice = _flag(_keys(given), "trust") if given else None
    if words[0] != "compare":  # which tells its processes
        words = [word for word in words if word not in given]
    with trusting(choice), restricted():
        return OUR_VERBS[words[0]](words[1:]) if words[0] in OUR_VERBS else _stock(words)


def _help(words: list[str]) -> int:
    topic = words[0] if words else ""
    if topic in STOCK_VERBS:
        print(f"yolo-attn {topic} takes the arguments of `yolo {topic}`: https://docs.ultralytics.com/modes/{topic}/")
        print("A model may be one of ours (yolo11n-cbam.yaml) or a base with layers at sites (yolo11n.yaml+CBAM@neck,")
        print("best.pt+SE[reduction=8,init=identity]@neck), and data a name from datasets.yaml (digits).")
        if topic in ("train", "tune"):
            print("recipe=NAME takes the training arguments that datasets.yaml has for a dataset (recipe=digits);")
            print("those given on the command line win.")
        return 0
    if topic and topic not in HELP_OF:
        raise UserError(f"no help on {topic!r}{did_you_mean(topic, (*HELP_OF, *STOCK_VERBS))}")
    print(HELP_OF.get(topic, HELP), end="")
    if not topic:
        print()
        _version()
    return 0


def _version() -> int:
    from yolo_attn.doctor import versions

    print(versions())
    return 0


def _without_dashes(words: Sequence[str]) -> list[str]:
    """Return words with `--key value` and `--key=value` as key=value, and `--key` alone as key=True."""
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.match(r"--\w", word):
            plain.append(word)
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            # A value may hold "=" itself, as yolo11n.yaml+SE[reduction=8]@neck does.
            follows = bool(rest) and not rest[0].startswith("--") and not re.match(r"[A-Za-z_]\w*=", rest[0])
            value = rest.pop(0) if follows else "True"
        plain.append(f"{key.replace('-', '_')}={value}")
    return plain


def _keys(words: Sequence[str], known: Sequence[str] | None = None) -> dict[str, str]:
    """Read key=value words.

    Args:
        words: What was typed.
        known: The keys that are right here; None leaves the check to the reader of the values.

    Raises:
        UserError: A word that is not key=value, a key given twice, or an unknown key.
    """
    keys: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"{word!r} is not key=value{_key_hint(word, known or ())}")
        if known is not None and key not in known:
            raise UserError(f"unknown key {key!r}{did_you_mean(key, known) or '; known: ' + ', '.join(known)}")
        if key in keys:
            raise UserError(f"{key} is given twice ({keys[key]!r} and {value!r})")
        keys[key] = value
    return keys


def _key_hint(word: str, known: Sequence[str]) -> str:
    return f"; did you mean {word}=...?" if word in known else ""


def _flag(keys: Mapping[str, str], key: str) -> bool:
    """Return a key's value, which is True or False; False when it was not given."""
    value = keys.get(key, "False").lower()
    if value not in _FLAGS:
        raise UserError(f"{key}={keys[key]}: must be True or False")
    return _FLAGS[value]


_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _format(keys: dict[str, str]) -> str:
    """Return the output format asked for."""
    chosen = keys.get("format", "text")
    if chosen not in ("text", "json"):
        raise UserError(f"format={chosen!r}: use text or json")
    return chosen


# --- verbs of ours ----------------------------------------------------------------------------------------------


def _layers(words: list[str]) -> int:
    from yolo_attn import cards
    from yolo_attn.registry import FAMILIES, get_layer, in_any_case, list_layers

    names = [w for w in words if "=" not in w]
    keys = _keys([w for w in words if "=" in w], ("family", "format"))
    if len(names) > 1:
        raise UserError(f"layers shows one layer at a time, not {len(names)}: {' '.join(names)}")
    family = keys.get("family")
    if family is not None and family not in FAMILIES:
        raise UserError(f"family={family!r}{did_you_mean(family, FAMILIES)} (known: {', '.join(FAMILIES)})")
    specs = [get_layer(in_any_case(names[0]))] if names else list_layers(family=family)
    if _format(keys) == "json":
        print(json.dumps([cards.as_dict(spec) for spec in specs], indent=2, ensure_ascii=False))
    else:
        width = shutil.get_terminal_size().columns
        print(cards.card(specs[0], width) if names else cards.listing(specs, width))
    return 0


def _doctor(words: list[str]) -> int:
    from yolo_attn import doctor

    keys = _keys(words, ("format",))
    report = doctor.examine()
    print(json.dumps(report, indent=2) if _format(keys) == "json" else doctor.as_text(report))
    return 1 if report["problems"] else 0


def _place(words: list[str]) -> int:
    from yolo_attn.graph import ModelRef
    from yolo_attn.graph.placed_layers import parse_value
    from yolo_attn.host.documents import layer_to_place, model_yaml
    from yolo_attn.host.model_files import without_letter
    from yolo_attn.host.placement import model_file

    keys = _keys(words)
    for key in ("model", "layer", "at"):
        if not keys.get(key):
            raise UserError(f"place needs {key}=; such as: yolo-attn place model=yolo11n.yaml layer=CBAM at=neck")
    model, layer, at = (keys.pop(key) for key in ("model", "layer", "at"))
    own: dict[str, str] = {key: keys.pop(key) for key in ("out", "exist_ok") if key in keys}
    replace, out = _flag(own, "exist_ok"), model_file(own["out"]) if own.get("out") else None
    known = layer_to_place(layer, model_yaml(model), "layer={layer} at={site}").options
    for key in keys:
        if key not in known:
            hint = did_you_mean(key, ("model", "layer", "at", "out", "exist_ok", *known))
            raise UserError(f"{key} is no key of place and no option of {layer}{hint}")
    placed = api.place(model, layer, at, **{key: parse_value(value) for key, value in keys.items()})
    file = out or _unlike_ours(without_letter(ModelRef.parse(model).stem), f"{placed.layer.name}-{at}")
    written = placed.save(file, exist_ok=replace)
    print(placed)
    print(f"written: {written}")
    return 0


def _unlike_ours(base: str, placed: str) -> str:
    """Return a file name that no config of ours has: the file would be taken for it wherever that one is named."""
    from yolo_attn.system.paths import config_folder

    stem = shortened(f"{base}-{re.sub(r'[^a-z0-9]+', '-', placed.lower()).strip('-')}")
    return f"{stem}-placed.yaml" if (config_folder() / f"{stem}.yaml").exists() else f"{stem}.yaml"


def _lint(words: list[str]) -> int:
    from yolo_attn.host.linting import lint

    keys = _keys(words, ("model", "format"))
    if not keys.get("model"):
        raise UserError("lint needs model=, such as: yolo-attn lint model=mine.yaml")
    findings = lint(keys["model"])
    if _format(keys) == "json":
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)) or f"{keys['model']}: nothing found")
    return 1 if findings else 0


def _compare(words: list[str]) -> int:
    from yolo_attn.study import compare  # which `yolo_attn.compare` calls with the same keys

    return compare(_keys(words), command=" ".join(["yolo-attn", "compare", *words])).exit_status


def _report(words: list[str]) -> int:
    from yolo_attn.data import resolve_data
    from yolo_attn.study.report import make_report, read_results, text_table

    keys = _keys(words, ("from", "data", "out"))
    if not keys.get("from"):
        raise UserError("report needs from=, the folder of a study; such as: yolo-attn report from=runs/compare/exp")
    folder = Path(keys["from"]).expanduser()
    data = resolve_data(keys["data"]) if keys.get("data") else None
    page = make_report(folder, Path(keys["out"]).expanduser() if keys.get("out") else None, data)
    print(text_table(read_results(page.parent)))
    print(f"written: {page}")
    return 0


def _profile(words: list[str]) -> int:
    from yolo_attn.analysis.profile import as_dicts

    keys = _keys(words, ("model", "against", "imgsz", "device", "rounds", "format"))
    if not keys.get("model"):
        raise UserError("profile needs model=, such as: yolo-attn profile model=yolo11n-cbam.yaml")
    shown, imgsz, rounds = _format(keys), _whole(keys, "imgsz", 640), _whole(keys, "rounds", 30)
    where, tell = keys.get("device"), _counter("round")
    found = api.profile(
        keys["model"], against=keys.get("against"), imgsz=imgsz, device=where, rounds=rounds, progress=tell
    )
    print(json.dumps(as_dicts(found), indent=2) if shown == "json" else found)
    return 0


def _maps(words: list[str]) -> int:
    keys = _keys(words, ("model", "source", "imgsz", "project", "name", "exist_ok", "format"))
    for key in ("model", "source"):
        if not keys.get(key):
            raise UserError(f"maps needs {key}=; such as: yolo-attn maps model=best.pt source=path/to/images")
    shown, imgsz = _format(keys), _whole(keys, "imgsz", 0) or None
    folder = Path(keys.get("project") or "runs").expanduser() / (keys.get("name") or "maps")
    add, tell = _flag(keys, "exist_ok"), _counter("picture")
    gallery = api.attention_maps(keys["model"], keys["source"], imgsz=imgsz, folder=folder, exist_ok=add, progress=tell)
    print(json.dumps(gallery.to_dict(), indent=2, ensure_ascii=False) if shown == "json" else gallery)
    return 0


def _whole(keys: dict[str, str], key: str, default: int, most: int = LARGEST_SIDE) -> int:
    """Return a key's whole number, from 1 to the most that makes sense."""
    text = keys.get(key)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise UserError(f"{key}={text[:40]}: use a whole number from 1 to {most}")
    return int(text)


def _counter(word: str) -> Callable[[int, int], None] | None:
    """Return what tells how far a long work is, on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def tell(done: int, total: int) -> None:
        sys.stderr.write(f"\r{word} {done}/{total}" if done < total else "\r" + 40 * " " + "\r")
        sys.stderr.flush()

    return tell


OUR_VERBS: dict[str, Callable[[list[str]], int]] = {
    "layers": _layers,
    "place": _place,
    "lint": _lint,
    "compare": _compare,
    "report": _report,
    "profile": _profile,
    "maps": _maps,
    "doctor": _doctor,
}


# --- Ultralytics' verbs -----------------------------------------------------------------------------------------


def _stock(words: list[str]) -> int:
    """Hand a command to Ultralytics, with the layers registered and the inputs checked first."""
    from yolo_attn.host.command import run_stock, run_tune
    from yolo_attn.host.resuming import after_cut

    try:
        words = _checked(words)
        (run_tune if "tune" in words else run_stock)(words)
    except UserError:
        raise
    except KeyboardInterrupt as stop:
        cut = "" if "tune" in words else after_cut(stop)  # a candidate of a search is no run to resume
        raise KeyboardInterrupt(f"stopped {cut}".strip()) from None
    except Exception as error:
        mistake = _user_mistake(error) if "tune" in words else _training_mistake(error) or _user_mistake(error)
        if mistake is None:
            raise
        return _complain(mistake)
    return 0


def _training_mistake(error: Exception) -> str | None:
    """Return one line for a training that a full disk cut, with the way to resume it; None for any other error."""
    from yolo_attn.host.resuming import after_cut, folder_of

    if not (is_disk_full(error) or "PytorchStreamWriter" in str(error)) or not (cut := after_cut(error)):
        return None
    name = getattr(error, "filename", None) or folder_of(error)
    return f"{name}: no space left on the disk; free some first. The training stopped {cut}"


def _checked(words: list[str]) -> list[str]:
    """Check model and data before anything runs; a dataset's name becomes what Ultralytics can find."""
    if not any(verb in words for verb in STOCK_VERBS):
        return words
    from yolo_attn.host.command import check_words, read_words

    words = _with_recipe(_with_resumed_model(read_words(words)))
    check_words(words)
    return [_CHECKS.get(w.partition("=")[0], _as_it_is)(w.partition("=")[2], words) or w for w in words]


def _with_resumed_model(words: list[str]) -> list[str]:
    """Return the words with the model that `resume=path/last.pt` means; Ultralytics would take a default one."""
    from yolo_attn.graph import ModelRef

    keys = dict(word.partition("=")[::2] for word in words)
    resumed = keys.get("resume", "False") or "True"
    if "train" not in words or "model" in keys or resumed.lower() in ("false", "none"):
        return words
    if not ModelRef.parse(resumed).is_checkpoint:
        raise UserError("train resume needs the run to go on with: model=runs/detect/train/weights/last.pt")
    return [*words, f"model={resumed}"]


def _with_recipe(words: list[str]) -> list[str]:
    """Return the words with the training arguments that `recipe=NAME` stands for; those given by hand win."""
    from yolo_attn.data import find_recipe

    keys = [word.partition("=")[0] for word in words]
    if "recipe" not in keys:
        return words
    named = [word.partition("=")[2] for word, key in zip(words, keys, strict=True) if key == "recipe"]
    rest = [word for word, key in zip(words, keys, strict=True) if key != "recipe"]
    recipe = find_recipe(named[-1])  # of a key that is given twice, Ultralytics too takes the last value
    return [*rest, *(f"{key}={value}" for key, value in recipe.items() if key not in keys)]


def _as_it_is(value: str, words: list[str]) -> str:
    return ""


def _check_model(value: str, words: list[str]) -> str:
    """Check that a model can be had and is one for the task that the command names; a shorthand gets its full name."""
    from yolo_attn.graph import ModelRef

    named = _named_task(words)
    task = _model_task(value) if named else _check_file(value)
    if named and task and named != task:
        raise UserError(f"model={value} is a {task} model and the command says {named}: give a {named} model")
    ref = ModelRef.parse(value)
    return f"model={ref.name}" if ref.is_placed else ""


def _check_pretrained(value: str, words: list[str]) -> str:
    """Check that `pretrained=` names a checkpoint, or is True or False."""
    from yolo_attn.graph import ModelRef

    ref = ModelRef.parse(value)
    if ref.is_yaml:
        raise UserError(f"pretrained={value}: pretrained= takes a checkpoint; write the layers in model=")
    if value.lower() in ("true", "false", "none"):
        return ""
    if not ref.is_checkpoint:
        what = "a folder" if is_folder(value) else "not a checkpoint"
        raise UserError(f"pretrained={value}: {what}; give a checkpoint's file (best.pt), or True or False")
    _check_file(value)
    return ""


def _check_resume(value: str, words: list[str]) -> str:
    """Check that a training can be resumed: Ultralytics would start or resume another one, in silence."""
    from yolo_attn.graph import ModelRef
    from yolo_attn.host.resuming import check_resumable

    if "train" not in words or value.lower() in ("false", "none"):
        return ""
    model = next((w.partition("=")[2] for w in words if w.startswith("model=")), "")
    named = value if ModelRef.parse(value).is_checkpoint else model
    if value.lower() not in ("", "true", named.lower()) or not ModelRef.parse(named).is_checkpoint:
        raise UserError(
            f"resume={value}: write resume=True and the run's checkpoint, model=runs/detect/train/weights/last.pt"
        )
    if not is_file(named):
        raise UserError(f"{named}: no such checkpoint")
    _check_file(named)
    check_resumable(named)
    return ""


def _check_optimizer(value: str, words: list[str]) -> str:
    from yolo_attn.study.specification.recipe import check_optimizer

    if value.lower() != "auto":
        check_optimizer(value)
    return ""


def _check_freeze(value: str, words: list[str]) -> str:
    """Give Ultralytics a list that it can read: it passes over [0,1,22.cv2] in silence."""
    from yolo_attn.host.freezing import read_freeze

    return f"freeze={read_freeze(value)}"


def _check_file(value: str) -> str:
    """Check a model's file: a model YAML as a whole, a checkpoint from outside; return "" (no task was asked for)."""
    from yolo_attn.graph import ModelRef
    from yolo_attn.host.checkpoint import check_checkpoint
    from yolo_attn.host.documents import model_yaml

    ref, path = ModelRef.parse(value), Path(value)
    if ref.is_yaml:
        model_yaml(ref)
    elif ref.is_checkpoint and "://" not in value:
        if path.parent != Path() and not is_folder(path) and not is_file(path):
            raise UserError(f"{value}: no such checkpoint")
        check_checkpoint(value)
    return ""


def _model_task(value: str) -> str:
    """Return a model's task; for one that has yet to be downloaded, what its name says, which may be nothing."""
    from yolo_attn.graph import ModelRef
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.model_kind import task_of

    _check_file(value)
    ref, path = ModelRef.parse(value), Path(value)
    if ref.is_yaml or (ref.is_checkpoint and is_file(path)):
        return task_of(model_yaml(ref))
    endings = {"-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify", "-sem": "semantic"}
    return next((task for ending, task in endings.items() if ending in path.stem), "")


def _check_source(value: str, words: list[str]) -> str:
    from yolo_attn.data import find_source

    return f"source={find_source(value)}"


def _check_data(value: str, words: list[str]) -> str:
    from yolo_attn.data import check_data, describe_data, resolve_data

    if "://" in value:
        return ""
    resolved = resolve_data(value)
    account = describe_data(check_data(resolved, _task(words)))
    if {"train", "val", "tune"} & set(words):
        print(f"yolo-attn: {account}", flush=True)
    return f"data={resolved}"


_CHECKS = {
    "model": _check_model,
    "pretrained": _check_pretrained,
    "data": _check_data,
    "source": _check_source,
    "resume": _check_resume,
    "freeze": _check_freeze,
    "optimizer": _check_optimizer,
}


def _task(words: list[str]) -> str:
    """Return the task of a command: what it names, else its model's."""
    model = next((w.partition("=")[2] for w in words if w.startswith("model=")), "")
    return _named_task(words) or (_model_task(model) if model else "") or "detect"


def _named_task(words: list[str]) -> str:
    return next((task for task in (word.removeprefix("task=") for word in words) if task in STOCK_TASKS), "")


def _user_mistake(error: Exception) -> str | None:
    """Return one line for an error of Ultralytics' that a user can cure; None for anything else."""
    text = first_line(error).removesuffix(" Supported formats are:")
    if circumstance := _circumstance(error):
        return circumstance
    if isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error):
        return str(disk_error(OSError(errno.ENOSPC, ""), Path("a checkpoint")))
    if isinstance(error, ConnectionError) or type(error).__module__ == "requests.exceptions":
        return _connection_mistake(text)
    if isinstance(error, ModuleNotFoundError) and error.name and _raised_by_host(error):
        package = _PACKAGES.get(error.name, error.name.replace("_", "-"))
        return f"this needs the package {package}, which is not installed: pip install {package}"
    if isinstance(error, NotImplementedError) and "'None' task" in text:
        return "the last row of this model is no head, such as Detect; see: yolo-attn lint model=FILE"
    return text if _is_about_input(error, text) else None


_PACKAGES = {"rknn": "rknn-toolkit2"}  # by the module that Ultralytics imports, where the names differ


def _raised_by_host(error: ModuleNotFoundError) -> bool:
    """Whether Ultralytics itself imports what is missing, and not a checkpoint whose classes are elsewhere."""
    frames = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    return any("/ultralytics/" in name for name in frames) and not any(
        "pickle" in n or "serialization" in n for n in frames
    )


def _connection_mistake(text: str) -> str:
    if "Failed to open" in text:  # a camera or a stream
        return f"source=: cannot be opened ({text})"
    url = re.search(r"https?://\S+?(?=\.?(\s|$))", text)
    name = url[0].rpartition("/")[2] if url else "the model"
    return f"{name}: not here, and it could not be downloaded ({text}); download it by hand, or give its path"


def _is_about_input(error: Exception, text: str) -> bool:
    """Whether an error of Ultralytics' is about what the user gave, and its first line says what."""
    if isinstance(error, (FileNotFoundError, SyntaxError)):
        return True
    if isinstance(error, AssertionError):
        return "nothing to resume" in text
    if not isinstance(error, (RuntimeError, TypeError, ValueError)):
        return False
    # 'imgsz=abc' is not ..., model='x.png' is not ...
    return bool(re.search(r"ERROR|❌|Dataset '|Invalid|Unsupported onnx", str(error)) or re.match(r"'?\w+=", text))
