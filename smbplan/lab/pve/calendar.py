"""Calendar events as backup jobs use them: `02:00`, `mon..fri 02:30`, `sat,sun 1:00`, `*/15`, `daily`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMED = {
    "minutely": "*:*",
    "hourly": "*:00",
    "daily": "00:00",
    "weekly": "mon 00:00",
}


@dataclass(frozen=True)
class Event:
    """The minutes at which something happens."""

    days: frozenset[int]
    hours: frozenset[int]
    minutes: frozenset[int]

    def after(self, moment: float) -> int:
        """The first such minute after the moment, as seconds since 1970 (the lab's clocks are UTC)."""
        time = datetime.fromtimestamp(moment, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        for _ in range(8 * 24 * 60):
            if time.weekday() not in self.days:
                time = time.replace(hour=0, minute=0) + timedelta(days=1)
            elif time.hour not in self.hours:
                time = time.replace(minute=0) + timedelta(hours=1)
            elif time.minute not in self.minutes:
                time += timedelta(minutes=1)
            else:
                return int(time.timestamp())
        raise ValueError("never happens")


def parse(text: str) -> Event:
    """ValueError for what is no event (of the forms above)."""
    words = NAMED.get(text, text).lower().split()
    days = frozenset(range(7))
    if len(words) == 2:
        days = _days(words.pop(0))
    elif words and words[0][:3] in DAYS:
        return Event(_days(words[0]), frozenset({0}), frozenset({0}))
    if len(words) != 1:
        raise ValueError(f"no calendar event: {text}")
    hour, colon, minute = words[0].partition(":")
    if not colon:
        hour, minute = "*", hour
    return Event(days, _numbers(hour, 24), _numbers(minute, 60))


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        start = DAYS.index(first[:3])
        end = DAYS.index(last[:3]) if dots else start
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def _numbers(text: str, limit: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|\d{1,2})(?:\.\.(\d{1,2}))?(?:/(\d{1,2}))?", part)
        if not match:
            raise ValueError(f"no number: {text}")
        start = 0 if match[1] == "*" else int(match[1])
        every = match[1] == "*" or match[3]
        end = int(match[2]) if match[2] else (limit - 1 if every else start)
        step = int(match[3] or 1)
        if not step or max(start, end) >= limit:
            raise ValueError(f"out of range: {text}")
        found |= set(range(start, end + 1, step))
    return frozenset(found)
