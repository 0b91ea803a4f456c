"""`limit=`: parsing, reasons and the message when nothing is left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_attn.errors import UserError
from yolo_attn.selection.limits import COSTS, Limits, check_limits, parse_limits
from yolo_attn.selection.records import Costs

BASE = Costs(params=2_600_000, gflops=6.5, latency_ms=20.0, latency_ratio=1.0, memory_mib=40.0)


def costs(ratio: float) -> Costs:
    """Return the costs of the base times a ratio."""
    return Costs(
        params=round(2_600_000 * ratio),
        gflops=6.5 * ratio,
        latency_ms=20.0 * ratio,
        latency_ratio=ratio,
        memory_mib=40.0 * ratio,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("latency:+10%", "latency +14.2 %, limit +10 %"),
        ("latency:-5%", "latency +14.2 %, limit -5 %"),
        ("latency:+14.19%", "latency +14.2 %, limit +14.19 %"),
        ("latency:22ms", "latency 22.84 ms, limit 22 ms"),
        ("latency:0.022s", "latency 0.02284 s, limit 0.022 s"),
        ("latency: 22 ms", "latency 22.84 ms, limit 22 ms"),
        ("params:+5%", "params +14.2 %, limit +5 %"),
        ("params:2.8M", "params 2.969 M, limit 2.8 M"),
        ("params:2.969M", "params 2.9692 M, limit 2.969 M"),
        ("params:2900000", "params 2969200, limit 2900000"),
        ("gflops:7", "gflops 7.423, limit 7"),
        ("memory:45MiB", "memory 45.68 MiB, limit 45 MiB"),
        ("memory:47MB", "memory 47.9 MB, limit 47 MB"),
        ("gflops:8,memory:+20%,params:3M,latency:+10%", "latency +14.2 %, limit +10 %"),
    ],
)
def test_the_first_broken_limit_in_words(text: str, reason: str) -> None:
    assert parse_limits(text).broken_by(costs(1.142), BASE) == reason


@pytest.mark.parametrize("text", [None, "", "latency:+15%", "params:3M", "gflops:+14.2%", "memory:48MB", "memory:46"])
def test_no_limit_is_broken(text: str | None) -> None:
    assert parse_limits(text).broken_by(costs(1.142), BASE) is None


def test_the_base_itself_is_within_zero_percent() -> None:
    assert parse_limits("latency:+0%,params:+0%,gflops:0%,memory:0%").broken_by(BASE, BASE) is None


def test_the_costs_that_limits_need() -> None:
    assert parse_limits("latency:+10%,params:3M").needs == {"latency", "params"}
    assert Limits().needs == frozenset()
    with pytest.raises(ValueError, match="latency_ratio was not measured"):
        parse_limits("latency:+10%").broken_by(Costs(params=1, gflops=1.0), BASE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("latncy:+10%", "limit=latncy:+10%: unknown cost; did you mean latency?; known: latency, params"),
        ("+10%", "limit=+10%: unknown cost; known: latency"),
        ("latency:+10%,latency:5ms", "latency is given twice"),
        ("latency", "limit=latency:: not a number with a unit; write latency:+10% or latency:12ms"),
        ("latency:fast", "limit=latency:fast: not a number"),
        ("params:nan", "not a number"),
        ("params:3T", "unknown unit 'T'; the units are k, M, B, %"),
        ("memory:-300MB", "must be above 0; write memory:+10% or memory:300MB"),
        ("gflops:0", "must be above 0"),
        ("gflops:1e999", "must be above 0"),
        ("params:-100%", "a limit of at most -100 % leaves nothing"),
        ("latency:+10%,", "unknown cost"),
    ],
)
def test_a_bad_limit_is_one_clear_line(text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_limits(text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_how_many_candidates_each_limit_removes() -> None:
    found = {"a": costs(1.0), "b": costs(1.06), "c": costs(1.2), "d": Costs(error="no such row")}
    reasons, line = check_limits(parse_limits("latency:+10%,params:+5%"), BASE, found)
    assert reasons == {"b": "params +6.0 %, limit +5 %", "c": "latency +20.0 %, limit +10 %"}
    assert line == "limits: latency:+10% removes 1, params:+5% removes 2 of 3 candidates"
    assert check_limits(Limits(), BASE, found) == ({}, "")


def test_nothing_left_names_the_limit_to_raise() -> None:
    fast = Costs(params=2_800_000, gflops=7.0, latency_ratio=1.05)
    small = Costs(params=2_610_000, gflops=7.0, latency_ratio=1.153)
    large = Costs(params=9_000_000, gflops=7.0, latency_ratio=2.0)
    limits = parse_limits("latency:+10%,params:2.7M")
    with pytest.raises(UserError) as caught:
        check_limits(limits, BASE, {"fast": fast, "small": small, "large": large})
    assert str(caught.value) == (
        "no candidate is left: latency:+10% removes 2, params:2.7M removes 2 of 3; "
        "params:2.80M or latency:+15.3% would leave one"
    )
    with pytest.raises(UserError, match="every candidate is over several limits"):
        check_limits(limits, BASE, {"large": large})


# --- properties -----------------------------------------------------------------------------------------------------

PERCENT = st.floats(-90, 400).map(lambda value: f"{value:+.2f}%")
RATIO = st.floats(0.05, 20)


@given(st.sampled_from(COSTS), PERCENT, st.lists(RATIO, min_size=1, max_size=4))
def test_the_proposed_limit_leaves_a_candidate(cost: str, percent: str, ratios: list[float]) -> None:
    found = {str(n): costs(ratio) for n, ratio in enumerate(ratios)}
    limits = parse_limits(f"{cost}:{percent}")
    try:
        reasons, _ = check_limits(limits, BASE, found)
    except UserError as error:
        raised = parse_limits(str(error).split("; ")[1].removesuffix(" would leave one"))
        assert check_limits(raised, BASE, found)[0].keys() < found.keys()
    else:
        assert reasons.keys() < found.keys()


@given(
    st.sampled_from([("latency", "ms"), ("params", ""), ("params", "M"), ("gflops", ""), ("memory", "MB")]),
    st.floats(1e-3, 1e6),
    RATIO,
)
def test_a_limit_raised_to_a_value_allows_it(kind: tuple[str, str], bound: float, ratio: float) -> None:
    cost, unit = kind
    (limit,) = parse_limits(f"{cost}:{bound:.6f}{unit}").limits
    value = limit.value(costs(ratio), BASE)
    (raised,) = parse_limits(limit.raised_to(value)).limits
    assert raised.allows(value)
    assert raised.bound <= value * 1.02


@given(st.sampled_from(COSTS), st.floats(-0.9, 5), RATIO)
def test_a_relative_limit_equals_the_absolute_one(cost: str, share: float, ratio: float) -> None:
    field = {"latency": "latency_ms", "params": "params", "gflops": "gflops", "memory": "memory_mib"}[cost]
    bound = getattr(BASE, field) * (1 + share)
    close = math.isclose(getattr(costs(ratio), field), bound, rel_tol=1e-5)
    relative, absolute = parse_limits(f"{cost}:{100 * share:+.9f}%"), parse_limits(f"{cost}:{bound:.9f}")
    one, other = (limits.broken_by(costs(ratio), BASE) for limits in (relative, absolute))
    assert close or (one is None) == (other is None)


@given(st.sampled_from(COSTS), PERCENT, RATIO)
def test_a_reason_shows_a_value_over_the_limit(cost: str, percent: str, ratio: float) -> None:
    reason = parse_limits(f"{cost}:{percent}").broken_by(costs(ratio), BASE)
    if reason is not None:
        value, limit = (float(part.removesuffix(" %").split()[-1]) for part in reason.split(", "))
        assert value > limit


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for given_text in (text, f"latency:{text}", f"params:{text}"):
        try:
            parse_limits(given_text)
        except UserError as error:
            assert "\n" not in str(error) or "\n" in given_text
