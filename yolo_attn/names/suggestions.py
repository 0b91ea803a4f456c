"""Which layer a wrong name means: the same mechanism in another spelling, or nothing.

A suggestion of another mechanism costs its reader a training, so being close is not enough. A name is understood when
it is one of ours but for case, separators and words that only say "a module"; when it is in the table of spellings;
when it joins a stock block with one of these; or when it has one typing error. An acronym with another letter is
another acronym, not a typing error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from yolo_attn.errors import did_you_mean
from yolo_attn.names.spellings import OPTIONS, OTHER_MECHANISMS, SPELLINGS

__all__ = [
    "fold",
    "is_other_mechanism",
    "option_hint",
    "suggest_block",
    "suggest_layer",
    "suggest_module",
    "suggest_word",
]

_WRAPPERS = ("module", "block", "layer", "unit")
_ATTENTION = ("attention", "attn", "att")
_TYPED = ("attention", "module", "block", "layer")  # whose typing errors are recognised
_GLUED = re.compile(r"C[123]\w*|A2C2f|RepC3|Bottleneck\w*")  # blocks that are joined without a separator too: SEC3
_ACRONYM = 3  # up to this length every letter counts


class _Form(NamedTuple):
    """A folded name without the words that only say "a module", and whether it says "attention"."""

    stem: str
    attention: bool


def fold(name: str) -> str:
    """Return a name in lower case, without separators."""
    return re.sub(r"[\W_]+", "", name).casefold()


def suggest_layer(name: str, names: Mapping[str, str]) -> str:
    """Return the layer that a name means, "" when it means none or several.

    Args:
        name: What the user wrote.
        names: Every name and alias that a row may use, each with the layer's own name.
    """
    if is_other_mechanism(name) and fold(name) not in _words(names):
        return ""
    return _spelt(name, names) or _mistyped(name, names)


def suggest_block(name: str, blocks: Collection[str], names: Mapping[str, str]) -> str:
    """Return `C3k2+SE` for a name that joins a stock block and a layer otherwise (`C3k2_SE`, `SEC3k2`), or "".

    Args:
        name: What the user wrote.
        blocks: The stock blocks that a layer can go inside.
        names: As for `suggest_layer`.
    """
    if is_other_mechanism(name):
        return ""
    found = {
        f"{block}+{suggest_layer(rest, names)}": ""
        for block, rest in _parts(name, blocks)
        if suggest_layer(rest, names)
    }
    return _only(found)


def suggest_module(name: str, blocks: Collection[str], hosts: Collection[str], names: Mapping[str, str]) -> str:
    """Return what a row's module name means: a layer of ours, a stock block with one inside, or a stock layer.

    Args:
        name: What the user wrote.
        blocks: The stock blocks that a layer can go inside.
        hosts: All stock layers.
        names: As for `suggest_layer`.
    """
    exact = {fold(host): host for host in hosts}
    if fold(name) in exact:
        return exact[fold(name)]
    if is_other_mechanism(name):
        return ""
    if found := _spelt(name, names) or suggest_block(name, blocks, names):
        return found
    if any(len(re.findall("[A-Za-z]", rest)) > 1 for _, rest in _parts(name, blocks)):
        return ""  # to correct the whole name would leave out, or change, what the block is joined with
    return _mistyped(name, names) or suggest_word(name, hosts)


def suggest_word(name: str, words: Iterable[str]) -> str:
    """Return the word that a name is but for case, separators or one typing error; "" when there is none or several."""
    given = fold(name)
    folded = {fold(word): word for word in words}
    if given in folded:
        return folded[given]
    near = {word: "" for form, word in folded.items() if _is_slip(given, form, word) or _is_wrong_digit(given, form)}
    return _only(near)


def is_other_mechanism(name: str) -> bool:
    """Whether a name is in circulation for a mechanism that is none of our layers."""
    given = fold(name)
    return not _OTHERS.isdisjoint((*_unwrapped(given), *_spoken(given)))


def option_hint(option: str, known: Collection[str]) -> str:
    """Return "; did you mean X?" for another word for an option that a layer has, or one close to it; else ""."""
    meant = [name for name in known if fold(option) in {fold(word) for word in OPTIONS.get(name, ())}]
    return f"; did you mean {meant[0]}?" if meant else did_you_mean(option, known)


def _unwrapped(folded: str) -> Iterator[str]:
    """Yield a folded name, and what is left of it as one word for "a module" after the other is taken off its end."""
    yield folded
    for ending in _WRAPPERS:
        if folded.endswith(ending) and folded != ending:
            yield from _unwrapped(folded.removesuffix(ending))


def _spoken(folded: str) -> tuple[str, ...]:
    """Return a folded name's stem, with "attention" in full where it has it."""
    form = _form(folded)
    return (form.stem, f"{form.stem}attention") if form.attention else (form.stem,)


_OTHERS = frozenset(map(fold, OTHER_MECHANISMS))


def _spelt(name: str, names: Mapping[str, str]) -> str:
    """Return the layer whose name, or another word for it, this is but for case, separators and "a module"."""
    words = _words(names)
    if fold(name) in words:
        return words[fold(name)][0]
    return _only(_forms(words.values()).get(_form(fold(name)), {}))


def _mistyped(name: str, names: Mapping[str, str]) -> str:
    """Return the layer whose name, or another word for it, this is but for one typing error."""
    given, forms = fold(name), _forms(_words(names).values())
    if _form(given) in forms:
        return ""  # it means several
    near = (layers for known, layers in forms.items() if _is_near(given, _form(given), known, layers))
    return _only({layer: "" for layers in near for layer in layers})


def _words(names: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return every folded name and spelling with its layer and how it is written; names go before spellings."""
    spelt = {word: layer for layer, words in SPELLINGS.items() if layer in names for word in words}
    return {fold(word): (layer, word) for word, layer in {**spelt, **names}.items()}


def _forms(words: Iterable[tuple[str, str]]) -> dict[_Form, dict[str, str]]:
    """Return the forms in which the layers are known, each with its layers and how their stems are written."""
    forms: dict[_Form, dict[str, str]] = {}
    for layer, word in sorted(words, key=lambda pair: _is_wrapped(fold(pair[1]))):
        stem, attention = _form(fold(word))
        written = re.sub(r"[\W_]+", "", word)[: len(stem)]
        for form in (_Form(stem, attention), _Form(stem, attention=True)):
            # In ContextBlock and SPBlock the block is part of the name: it only makes another's form ambiguous.
            if form in forms or not _is_wrapped(fold(word)):
                forms.setdefault(form, {})[layer] = written
    return forms


def _is_wrapped(folded: str) -> bool:
    return _without(folded, _WRAPPERS) != folded


def _form(folded: str) -> _Form:
    whole = _without(folded, _WRAPPERS)
    stem = next((whole.removesuffix(word) for word in _ATTENTION if whole.endswith(word) and whole != word), whole)
    return _Form(stem, stem != whole)


def _without(folded: str, endings: Iterable[str]) -> str:
    """Return a folded name without the endings; a name that is nothing else stays."""
    for ending in endings:
        if folded.endswith(ending) and folded != ending:
            return _without(folded.removesuffix(ending), endings)
    return folded


def _parts(name: str, blocks: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the longest stock block that a name begins with, and that it ends with, each with the rest of the name."""
    longest = sorted(blocks, key=len, reverse=True)  # C2f_CA is C2f and CA, not C2 and FCA
    for pattern in ("{block}{between}(.+)", "(.+?){between}{block}"):
        for block in longest:
            between = r"[\W_]*" if _GLUED.fullmatch(block) else r"[\W_]+"
            if match := re.fullmatch(pattern.format(block=re.escape(block), between=between), name, re.IGNORECASE):
                yield block, match[1]
                break


def _is_near(given: str, form: _Form, known: _Form, layers: Mapping[str, str]) -> bool:
    """Whether a name is a known form but for one typing error, in the form's own letters or in what follows them."""
    if form.attention == known.attention and any(_is_slip(form.stem, known.stem, w) for w in layers.values()):
        return True
    rest = given.removeprefix(known.stem)
    tails = _TYPED[:1] if known.attention else _TYPED[1:]
    return rest != given and any(_is_slip(rest, tail, tail) for tail in tails)


def _is_slip(given: str, meant: str, written: str) -> bool:
    """Whether a folded name is another one with a single typing error.

    Args:
        given: The name.
        meant: The other one.
        written: The other one as it is written: in an acronym a wrong or missing letter is no typing error.
    """
    if not given or given[0] != meant[0] or re.sub(r"\D", "", given) != re.sub(r"\D", "", meant):
        return False
    if re.search(r"[a-z]{3}", written):
        acronym = re.match(r"[A-Z\d]+(?=[A-Z][a-z])", written)  # of SEBasic: SE
        return given.startswith(acronym[0].casefold() if acronym else "") and _is_one_edit(given, meant)
    doubled = re.compile(r"(.)\1")
    if len(given) == len(meant) + 1 and len(meant) >= _ACRONYM:
        return any(given[: m.start()] + given[m.end() - 1 :] == meant for m in doubled.finditer(given))
    if len(meant) <= _ACRONYM:
        return False
    if len(given) == len(meant) - 1:
        return any(sign in "aeiou" and meant[:i] + meant[i + 1 :] == given for i, sign in enumerate(meant))
    return given != meant and _is_swap(given, meant)


def _is_one_edit(given: str, meant: str) -> bool:
    """Whether two words differ by one letter: wrong, missing, too many, or two neighbours in the wrong order."""
    if len(given) == len(meant):
        return sum(a != b for a, b in zip(given, meant, strict=True)) == 1 or _is_swap(given, meant)
    short, long = sorted((given, meant), key=len)
    return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _is_swap(given: str, meant: str) -> bool:
    if len(given) != len(meant):
        return False
    pairs = [(a, b) for a, b in zip(given, meant, strict=True) if a != b]
    first = next((i for i, (a, b) in enumerate(zip(given, meant, strict=True)) if a != b), 0)
    return len(pairs) == 2 and given[first : first + 2] == meant[first : first + 2][::-1]  # noqa: PLR2004


def _is_wrong_digit(given: str, meant: str) -> bool:
    """Whether two folded names of four signs or more differ in their last digit alone: C3k3 and C3k2."""
    return len(meant) > _ACRONYM and given[:-1] == meant[:-1] and given[-1:].isdecimal() and meant[-1].isdecimal()


def _only(found: Mapping[str, str]) -> str:
    """Return the one that was found, "" for none or several."""
    return next(iter(found)) if len(found) == 1 else ""
