"""The decisions about restarts, which need no process to be judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.supervise.restart import (
    CRASH_LOOP_ATTEMPTS,
    CRASH_LOOP_LIFE_S,
    MAX_BACKOFF_S,
    RESTART_MODES,
    SETTLED_S,
    End,
    Life,
    Restart,
    RestartPolicy,
    backoff_s,
    decide,
)

lives = st.builds(Life, st.floats(0, 1000, allow_nan=False), st.booleans(), st.booleans(), st.booleans())
policies = st.builds(
    RestartPolicy, st.sampled_from(RESTART_MODES), st.none() | st.integers(0, 10), st.floats(0, 1000)
)
SHORT_FAILURE = Life(1.0, has_succeeded=False)


@given(policies, st.lists(lives, min_size=1, max_size=20))
def test_nothing_is_started_against_the_will_of_anybody(policy, history):
    """Who told it to end is obeyed, in every mode; and without a mode nothing is started again."""
    if history[-1].was_told or policy.mode == "never":
        assert decide(policy, history) == End()


@given(policies, st.lists(lives, min_size=1, max_size=20))
def test_a_restart_keeps_all_limits(policy, history):
    """The number of restarts, success under on-failure, and the length of a pause are bounded."""
    decision = decide(policy, history)
    if isinstance(decision, Restart):
        assert 0 <= decision.delay_s <= max(MAX_BACKOFF_S, policy.backoff_s)
        assert policy.max_restarts is None or len(history) <= policy.max_restarts
        assert policy.mode == "always" or not history[-1].has_succeeded


@given(policies, st.lists(lives, max_size=10))
def test_a_crash_loop_always_ends(policy, history):
    """Whatever came before, five short failures in a row are the end."""
    assert isinstance(decide(policy, [*history, *[SHORT_FAILURE] * CRASH_LOOP_ATTEMPTS]), End)


@given(st.floats(0, 1000), st.integers(0, 5000))
def test_pauses_never_get_shorter(first_s, in_a_row):
    """Each further short attempt in a row waits at least as long as the one before; no number overflows."""
    assert backoff_s(first_s, in_a_row) <= backoff_s(first_s, in_a_row + 1)


def test_pauses_double_and_begin_anew_after_a_healthy_attempt():
    """1, 2, 4 s; and 1 s again after an attempt that lived for a minute."""
    policy = RestartPolicy("on-failure", None, 1.0)
    healthy = Life(SETTLED_S, has_succeeded=False)
    delays = [decide(policy, [SHORT_FAILURE] * count) for count in (1, 2, 3)]
    assert delays == [Restart(1.0), Restart(2.0), Restart(4.0)]
    assert decide(policy, [*[SHORT_FAILURE] * 3, healthy]) == Restart(1.0)
    assert decide(policy, [*[SHORT_FAILURE] * 3, healthy, SHORT_FAILURE]) == Restart(1.0)


@pytest.mark.parametrize(
    ("policy", "history", "reason"),
    [
        (RestartPolicy("always", 1), [SHORT_FAILURE] * 2, "it was started again once, as often as it may be"),
        (RestartPolicy("always"), [SHORT_FAILURE] * 5, "crash loop: 5 failures in a row within 10 s each"),
        (
            RestartPolicy("always"),
            [Life(0.0, has_succeeded=False, has_started=False)],
            "it cannot be started",
        ),
        (RestartPolicy("on-failure"), [Life(1.0, has_succeeded=True)], None),
    ],
)
def test_the_end_says_why(policy, history, reason):
    """Who asked for restarts learns why there are no more."""
    assert decide(policy, history) == End(reason)


def test_a_command_that_lives_a_while_is_no_crash_loop():
    """Failures may come for ever as long as there is some life between them, and quick successes are no crashes."""
    policy = RestartPolicy("always")
    alive = Life(CRASH_LOOP_LIFE_S, has_succeeded=False)
    assert isinstance(decide(policy, [alive] * 50), Restart)
    assert isinstance(decide(policy, [Life(0.1, has_succeeded=True)] * 50), Restart)
