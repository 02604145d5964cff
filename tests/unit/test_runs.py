"""What a run is follows from its tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from warrener.runs import COUNTS_AS_CANCELLED, COUNTS_AS_FAILED, FINAL, RunState, outcome
from warrener.states import FINAL as FINAL_TASKS
from warrener.states import State

COUNTS = st.integers(0, 100)


@given(unfinished=COUNTS, failed=COUNTS, cancelled=COUNTS, wanted=st.booleans())
def test_a_run_is_final_when_its_last_task_is(unfinished: int, failed: int, cancelled: int, wanted: bool) -> None:
    state = outcome(unfinished=unfinished, failed=failed, cancelled=cancelled, cancel_wanted=wanted)
    assert (state in FINAL) == (unfinished == 0)
    if unfinished:
        assert state is (RunState.CANCELLING if wanted else RunState.RUNNING)
    elif failed:
        assert state is RunState.FAILED
    elif cancelled:
        assert state is RunState.CANCELLED
    else:
        assert state is RunState.SUCCEEDED


def test_every_bad_end_counts_as_one_thing() -> None:
    bad = FINAL_TASKS - {State.SUCCEEDED, State.SKIPPED}
    assert bad == COUNTS_AS_FAILED | COUNTS_AS_CANCELLED
    assert not COUNTS_AS_FAILED & COUNTS_AS_CANCELLED
