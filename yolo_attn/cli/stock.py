"""Ultralytics' commands, with the attention layers registered and the arguments checked first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from yolo_attn.cli.command import Command
from yolo_attn.errors import UserError
from yolo_attn.host.arguments import (
    CHECKS,
    RECIPE,
    SPECIAL,
    TASKS,
    VERBS,
    check_words,
    counts_one_class,
    evaluated_splits,
    find_task,
    read_list,
    read_words,
    with_resumed_model,
)

__all__ = ["COMMANDS", "prepare_words"]


def prepare_words(words: Sequence[str]) -> list[str]:
    """Check the words of a command before anything runs, and return those to give to Ultralytics.

    Args:
        words: The words after "yolo-attn". A recipe becomes training arguments, a dataset's name becomes its YAML.

    Raises:
        UserError: An unknown key or an invalid value.
    """
    words = list(words)
    if not any(verb in words for verb in VERBS):
        if words and words[0] in TASKS and not any(word.startswith("mode=") for word in words):
            raise UserError(f"{words[0]}: a task needs a command; for example: yolo-attn {words[0]} train model=...")
        return words
    words = _with_recipe(with_resumed_model(read_words(words)))
    check_words(words)
    checks = {**CHECKS, "data": _check_data, "source": _check_source}
    prepared = []
    for word in words:
        key, _, value = word.partition("=")
        replacement = checks[key](value, words) if key in checks else None
        prepared.append(word if replacement is None else f"{key}={replacement}")
    return prepared


def _with_recipe(words: list[str]) -> list[str]:
    """Replace `recipe=NAME` by its training arguments; arguments on the command line take precedence."""
    from yolo_attn.data import find_recipe

    keys = [word.partition("=")[0] for word in words]
    if RECIPE not in keys:
        return words
    names = [word.partition("=")[2] for word, key in zip(words, keys, strict=True) if key == RECIPE]
    rest = [word for word, key in zip(words, keys, strict=True) if key != RECIPE]
    recipe = find_recipe(names[-1])  # Ultralytics, too, takes the last value of a key that is given twice
    return [*rest, *(f"{key}={value}" for key, value in recipe.items() if key not in keys)]


def _check_source(value: str, words: Sequence[str]) -> str:
    from yolo_attn.data import find_source

    return str(find_source(value))


def _check_data(value: str, words: Sequence[str]) -> str | None:
    """Check a dataset, print its description before training, and return its YAML."""
    from yolo_attn.data import check_data, describe_data, resolve_data

    if items := read_list(value):  # several datasets, which Ultralytics trains on one after another
        return str([_check_data(item, words) or item for item in items])
    if "://" in value:
        return None
    resolved = resolve_data(value)
    summary = check_data(resolved, find_task(words), evaluated_splits(words), single_class=counts_one_class(words))
    if {"train", "val", "tune"} & set(words):
        print(f"yolo-attn: {describe_data(summary)}", flush=True)
    return str(resolved)


def _run(name: str, words: list[str]) -> int:
    """Run one command of Ultralytics.

    Raises:
        UserError: Invalid input, or an error of Ultralytics that the user can fix.
    """
    from yolo_attn.host.command import run_stock
    from yolo_attn.host.error_messages import cut_training_message, stock_message
    from yolo_attn.host.resuming import after_interruption
    from yolo_attn.host.tuning import run_tune

    words = [name, *words]
    try:
        words = prepare_words(words)
        (run_tune if "tune" in words else run_stock)(words)
    except UserError:
        raise
    except KeyboardInterrupt as stop:
        cut = "" if "tune" in words else after_interruption(stop)  # the training runs of a search cannot be resumed
        raise KeyboardInterrupt(f"stopped {cut}".strip()) from None
    except Exception as error:
        message = None if "tune" in words else cut_training_message(error)
        if (message := message or stock_message(error)) is None:
            raise
        raise UserError(message) from error
    return 0


def _help(name: str) -> str:
    source = f"`yolo {name}`: https://docs.ultralytics.com/modes/{name}/"
    if name == "tune":  # for which `yolo` has no verb
        source = "`YOLO(model).tune(...)`: https://docs.ultralytics.com/guides/hyperparameter-tuning/"
    text = f"""\
yolo-attn {name} takes the arguments of {source}
A model may also be an attention variant (yolo11n-cbam.yaml) or a base with layers at sites (yolo11n.yaml+CBAM@neck,
best.pt+SE[reduction=8,init=identity]@neck). layers=my_layers.py registers custom layers.
"""
    if name in ("predict", "track"):
        text += "source= may also be a dataset from datasets.yaml (digits), whose validation images are taken.\n"
    else:
        text += "data= may also be a name from datasets.yaml (digits).\n"
    if name in ("train", "tune"):
        text += """\
recipe=NAME takes the training arguments of a dataset in datasets.yaml (recipe=digits); arguments on the command line
take precedence. lr_attention=5 multiplies the learning rate of attention layers by five. freeze=10 counts the rows of
the base, without the attention layers.
"""
    if name == "tune":
        text += """\
space="{lr0: [1e-4, 1e-2], lr_attention: [1, 20]}" searches only these values. resume and the name= of a search continue
it, up to iterations=. use_ray=True searches on Ray, which requires: pip install "ray[tune]" optuna
"""
    return text


def _command(name: str, page: Callable[[], str] | None = None, *, special: bool = False) -> Command:
    return Command(name, functools.partial(_run, name), help=page, takes_layers=not special, takes_dashes=not special)


COMMANDS = (
    *(_command(name, functools.partial(_help, name)) for name in VERBS),
    *(_command(name) for name in TASKS),
    *(_command(name, special=True) for name in SPECIAL),
)
