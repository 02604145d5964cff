"""The longest expected path from each task to the end of its run: the upward rank of HEFT.

Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for heterogeneous computing", IEEE
Transactions on Parallel and Distributed Systems 13 (3), 2002, formula 4, without costs of communication:

    rank(t) = expected(t) + max(rank(s) for every s that needs t)

Whoever always starts the ready task of the highest rank keeps the critical path busy.
"""

from __future__ import annotations

from collections.abc import Sequence


def upward_ranks(needs: Sequence[Sequence[int]], expected_s: Sequence[float]) -> list[float]:
    """Return the rank of each task, in seconds; `needs[t]` are the numbers of what t needs, without circles.

    It takes time in proportion to tasks and needs.
    """
    behind_s = [0.0] * len(needs)  # the longest path of those that need it, as far as it is known
    open_needs = [0] * len(needs)  # how many that need it have no rank yet
    for own in needs:
        for upstream in own:
            open_needs[upstream] += 1
    ranks = [0.0] * len(needs)
    ready = [task for task, count in enumerate(open_needs) if not count]
    while ready:
        task = ready.pop()
        rank = ranks[task] = expected_s[task] + behind_s[task]
        for upstream in needs[task]:
            behind_s[upstream] = max(behind_s[upstream], rank)
            open_needs[upstream] -= 1
            if not open_needs[upstream]:
                ready.append(upstream)
    return ranks
