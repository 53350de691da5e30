"""
How many second tries (retries and hedges together) the client may send.

A token bucket: a second try costs a token, a good answer earns a tenth of one, so in the long run second tries are
at most a tenth of the traffic and a service in trouble is not asked twice by everybody.

The bucket must still be deep enough to lose a region. When one goes silent, every call under way needs its second
try at the same moment, and only when the first few have come back is it known that the region is gone; from then on
it is not chosen, and second tries are over. A fixed ten would fail the rest: at 300 calls a second and 60 ms until
the first second tries are answered there are about twenty calls under way. So the bucket holds one token for every
call that can be under way, which is every call begun within the time one may take, and never fewer than ten.
(Proxies have the same rule: the least number of concurrent retries is the peak rate times the timeout.) If
everything is slow at once, that depth costs one such time of doubled traffic; after it the tenth holds.
"""

from collections import deque

LEAST_TOKENS = 10.0
EARNED_PER_SUCCESS = 0.1

DEPTH_S = 1.0
"""How far back calls count as possibly under way, where the deadline is not longer."""


class RetryBudget:
    """The bucket; times are monotonic seconds, `deadline_s` is what a call may usually take."""

    def __init__(self, deadline_s: float = DEPTH_S) -> None:
        self._depth_s = max(DEPTH_S, deadline_s)
        self._spent = 0.0  # counted up from a full bucket, because how much a full one holds changes with the traffic
        self._begun: deque[float] = deque()

    def begin(self, now: float) -> None:
        """Count a call that begins."""
        self._begun.append(now)

    def succeed(self) -> None:
        """Earn for a call that was answered well."""
        self._spent = max(0.0, self._spent - EARNED_PER_SUCCESS)

    def spend(self, now: float) -> bool:
        """Take a token for a second try; False when there is none."""
        while self._begun and self._begun[0] <= now - self._depth_s:
            self._begun.popleft()
        if self._spent + 1 > max(LEAST_TOKENS, len(self._begun)):
            return False
        self._spent += 1
        return True
