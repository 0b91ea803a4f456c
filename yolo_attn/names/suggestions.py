"""Suggestions for unknown names of layers: the same mechanism in another spelling, or nothing.

A suggestion of another mechanism would cost a user a training run, so similarity alone is not sufficient. A name is
resolved if it equals a layer's name except for case, separators and generic words such as "module", if it is in the
table of spellings, if it combines a stock block with one of these, or if it has a single typo. An acronym with another
letter is another acronym, not a typo.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from yolo_attn.errors import did_you_mean
from yolo_attn.names.spellings import OPTIONS, OTHER_MECHANISMS, SPELLINGS

__all__ = [
    "fold",
    "is_other_mechanism",
    "nearest_layer",
    "option_hint",
    "suggest_block",
    "suggest_layer",
    "suggest_module",
    "suggest_word",
]

_WRAPPERS = ("module", "block", "layer", "unit")
_ATTENTION = ("attention", "attn", "att")
_GENERIC = frozenset({*_WRAPPERS, *_ATTENTION, "conv"})  # words that say nothing about the mechanism
_SIMILAR, _SIMILAR_STEMS = 0.5, 0.6
_TYPED = ("attention", "module", "block", "layer")  # typos in these words are recognized
_GLUED = re.compile(r"C[123]\w*|A2C2f|RepC3|Bottleneck\w*")  # blocks that are also combined without a separator: SEC3
_ACRONYM = 3  # no typos are recognized in names up to this length


class _Form(NamedTuple):
    """A folded name without generic words such as "module".

    Args:
        stem: The name without these words and without "attention".
        attention: Whether the name contains "attention".
    """

    stem: str
    attention: bool


@functools.lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return a name in lower case without separators."""
    return re.sub(r"[\W_]+", "", name).casefold()


def suggest_layer(name: str, names: Mapping[str, str]) -> str:
    """Return the layer that a name means, or "" for none or several.

    Args:
        name: The unknown name.
        names: Every name and alias that a row may use, with the layer's own name.
    """
    if name in names:
        return names[name]  # some names differ in case only
    if is_other_mechanism(name) and fold(name) not in _words(names):
        return ""
    return _by_spelling(name, names) or _by_typo(name, names)


def suggest_block(name: str, blocks: Collection[str], names: Mapping[str, str]) -> str:
    """Return `C3k2+SE` for other combinations of a stock block and a layer (`C3k2_SE`, `SEC3k2`), or "".

    Args:
        name: The unknown name.
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
    """Return what a row's module name means: an attention layer, a stock block with one inside, or a stock layer.

    Args:
        name: The unknown name.
        blocks: The stock blocks that a layer can go inside.
        hosts: All stock layers.
        names: As for `suggest_layer`.
    """
    exact = {fold(host): host for host in hosts}
    if fold(name) in exact:
        return exact[fold(name)]
    if is_other_mechanism(name):
        return ""
    if found := _by_spelling(name, names) or suggest_block(name, blocks, names):
        return found
    if any(len(re.findall("[A-Za-z]", rest)) > 1 for _, rest in _parts(name, blocks)):
        return ""  # a correction of the whole name would drop or change the part combined with the block
    return _by_typo(name, names) or suggest_word(name, hosts)


def nearest_layer(name: str, blocks: Collection[str], names: Mapping[str, str]) -> str:
    """Return the layer whose name or spelling is most similar to a name that means none of them, or "" for none.

    Args:
        name: The unknown name, which may combine a stock block with a layer.
        blocks: The stock blocks that a layer can go inside.
        names: As for `suggest_layer`.
    """
    words = _words(names)
    for part in (*(fold(rest) for _, rest in _parts(name, blocks)), fold(name)):
        near = difflib.get_close_matches(part, words, n=1, cutoff=_SIMILAR)
        if near and _are_stems_similar(part, near[0]):
            return next(iter(words[near[0]]))
    return ""


def _are_stems_similar(folded: str, other: str) -> bool:
    """Return True if two names are similar without generic words: "Attention" in both is no similarity."""
    stems = _without(folded, _GENERIC), _without(other, _GENERIC)
    return _GENERIC.isdisjoint(stems) and difflib.SequenceMatcher(None, *stems).ratio() > _SIMILAR_STEMS


def suggest_word(name: str, words: Iterable[str]) -> str:
    """Return the word that equals a name except for case, separators or one typo, or "" for none or several."""
    given = fold(name)
    folded = {fold(word): word for word in words}
    if given in folded:
        return folded[given]
    near = {word: "" for form, word in folded.items() if _is_typo(given, form, word) or _is_wrong_digit(given, form)}
    return _only(near)


def is_other_mechanism(name: str) -> bool:
    """Return True if a name is in use for a mechanism that is not among the layers."""
    given = fold(name)
    return not _OTHERS.isdisjoint((*_unwrapped(given), *_with_attention(given)))


def option_hint(option: str, known: Collection[str]) -> str:
    """Return "; did you mean X?" for a synonym of an option or a word close to it, else ""."""
    meant = [name for name in known if fold(option) in {fold(word) for word in OPTIONS.get(name, ())}]
    return f"; did you mean {meant[0]}?" if meant else did_you_mean(option, known)


def _unwrapped(folded: str) -> Iterator[str]:
    """Yield a folded name, and the rest of it after each removal of a generic word from its end."""
    yield folded
    for ending in _WRAPPERS:
        if folded.endswith(ending) and folded != ending:
            yield from _unwrapped(folded.removesuffix(ending))


def _with_attention(folded: str) -> tuple[str, ...]:
    """Return a folded name's stem, also with "attention" spelled out if the name contains it."""
    form = _form(folded)
    return (form.stem, f"{form.stem}attention") if form.attention else (form.stem,)


_OTHERS = frozenset(map(fold, OTHER_MECHANISMS))


def _by_spelling(name: str, names: Mapping[str, str]) -> str:
    """Return the layer with this name or spelling, except for case, separators and generic words."""
    words = _words(names)
    if fold(name) in words:
        return _only(words[fold(name)])
    return _only(_forms(names).get(_form(fold(name)), {}))


def _by_typo(name: str, names: Mapping[str, str]) -> str:
    """Return the layer with this name or spelling, except for one typo."""
    given, forms = fold(name), _forms(names)
    form = _form(given)
    if form in forms:
        return ""  # the name means several layers
    near = (layers for known, layers in forms.items() if _is_near(given, form, known, layers))
    return _only({layer: "" for layers in near for layer in layers})


def _words(names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the layers of every folded name and spelling, with its written form; names take precedence."""
    return _words_of(tuple(names.items()))


@functools.lru_cache(maxsize=8)
def _words_of(names: tuple[tuple[str, str], ...]) -> dict[str, dict[str, str]]:
    layers = {layer for _, layer in names}
    spellings = {word: layer for layer, words in SPELLINGS.items() if layer in layers for word in words}
    found: dict[str, dict[str, str]] = {}
    for table in (dict(names), spellings):
        known = set(found)
        for word, layer in table.items():
            if fold(word) not in known:
                found.setdefault(fold(word), {})[layer] = word
    return found


def _forms(names: Mapping[str, str]) -> dict[_Form, dict[str, str]]:
    """Return the layers of every form, with the written forms of their stems."""
    return _forms_of(tuple(names.items()))


@functools.lru_cache(maxsize=8)
def _forms_of(names: tuple[tuple[str, str], ...]) -> dict[_Form, dict[str, str]]:
    forms: dict[_Form, dict[str, str]] = {}
    pairs = [pair for layers in _words_of(names).values() for pair in layers.items()]
    for layer, word in sorted(pairs, key=lambda pair: _is_wrapped(fold(pair[1]))):
        stem, attention = _form(fold(word))
        written = re.sub(r"[\W_]+", "", word)[: len(stem)]
        for form in (_Form(stem, attention), _Form(stem, attention=True)):
            # The block is part of names such as ContextBlock: without it, such a name only makes other forms ambiguous.
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
    """Return a folded name without the endings; a name that consists of one is unchanged."""
    for ending in endings:
        if folded.endswith(ending) and folded != ending:
            return _without(folded.removesuffix(ending), endings)
    return folded


def _parts(name: str, blocks: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the longest stock block at the start and at the end of a name, each with the rest of the name."""
    longest = sorted(blocks, key=len, reverse=True)  # C2f_CA is C2f and CA, not C2 and FCA
    for place in (0, 1):
        for block in longest:
            if match := _combined(block)[place].fullmatch(name):
                yield block, match[1]
                break


@functools.lru_cache(maxsize=256)
def _combined(block: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of names with a block at the start and at the end."""
    between, escaped = r"[\W_]*" if _GLUED.fullmatch(block) else r"[\W_]+", re.escape(block)
    return (
        re.compile(f"{escaped}{between}(.+)", re.IGNORECASE),
        re.compile(f"(.+?){between}{escaped}", re.IGNORECASE),
    )


def _is_near(given: str, form: _Form, known: _Form, layers: Mapping[str, str]) -> bool:
    """Return True if a name is a known form except for one typo, in the stem or in the word after it."""
    if form.attention == known.attention and any(_is_typo(form.stem, known.stem, w) for w in layers.values()):
        return True
    rest = given.removeprefix(known.stem)
    tails = _TYPED[:1] if known.attention else _TYPED[1:]
    return rest != given and any(_is_typo(rest, tail, tail) for tail in tails)


def _is_typo(given: str, meant: str, written: str) -> bool:
    """Return True if a folded name is another one with a single typo.

    Args:
        given: The name.
        meant: The other name.
        written: The other name before folding; in an acronym a wrong or missing letter is not a typo.
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
        return any(letter in "aeiou" and meant[:i] + meant[i + 1 :] == given for i, letter in enumerate(meant))
    return given != meant and _is_swap(given, meant)


def _is_one_edit(given: str, meant: str) -> bool:
    """Return True if two words differ by one wrong, missing or additional letter, or by two swapped neighbors."""
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
    """Return True if two folded names of four or more characters differ only in a last digit: C3k3 and C3k2."""
    return len(meant) > _ACRONYM and given[:-1] == meant[:-1] and given[-1:].isdecimal() and meant[-1].isdecimal()


def _only(found: Mapping[str, str]) -> str:
    """Return the only key, or "" for none or several."""
    return next(iter(found)) if len(found) == 1 else ""
