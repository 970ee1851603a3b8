"""Compare clocks. Replication does not need them; the timestamps of records do."""

from __future__ import annotations

from typing import Final

from yak_net.doctor.results import Check, Result, Severity

FAR_S: Final = 5.0
"""Seconds by which two clocks may differ."""


def clock_result(
    subject: str, before: float, after: float, theirs_min: float, theirs_max: float
) -> Result:
    """Return the result for a clock that showed between ``theirs_min`` and ``theirs_max``.

    That was between ``before`` and ``after`` on the clock of this machine. All are seconds since
    1970.
    """
    # The smallest difference that explains both: the answer may have been made at any moment.
    ahead = max(theirs_min - after, 0.0)
    behind = max(before - theirs_max, 0.0)
    if ahead > FAR_S or behind > FAR_S:
        by, how = (ahead, "ahead of") if ahead else (behind, "behind")
        return Result(
            Check.CLOCK, Severity.WARNING, subject,
            f"its clock is {by:.0f} s {how} the clock of this machine",
            "synchronise both clocks, for example with NTP (timedatectl set-ntp true); until then "
            "timestamps of records are wrong, and a search by time finds other records",
        )  # fmt: skip
    return Result(Check.CLOCK, Severity.OK, subject, f"its clock differs by less than {FAR_S:g} s")
