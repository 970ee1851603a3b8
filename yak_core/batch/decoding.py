"""The decoder of the records in a batch: one list per field.

Many records of a batch differ only in offset delta, key and value: they have the same timestamp,
and their keys and values have the same lengths. After some records in a row that seem to be such
records, the decoder takes the last one as a *template* and compares many records at once: each
byte position of the template is a slice of the batch, with the size of a record as its step. If
all are like the template, only their keys and values are read. All other records are read field by
field.

Lists per field let a client build its own type of record in one pass, without one object more for
each record. The decoder reads varints inline, because a function call per field makes it slower.
"""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple, TypeAlias

from yak_core.batch.records import DELTAS, TIMESTAMP_END, TIMESTAMP_MIN, Damaged, Headers, varint

_RUN_MIN, _RUN_MAX = 8, 2048
"""Records of the first and of the largest comparison with a template; each is twice as large."""

# The bytes of the zigzag varint of n = 0 to 2**20 - 1, which is 2 * n in one to three bytes.
_ONE_END, _TWO_END = 64, 64 << 7
_LOW = bytes(2 * n & 0x7F for n in range(64))
_LOW_MORE = bytes(2 * n & 0x7F | 0x80 for n in range(64)) * (_RUN_MAX // 64 + 1)
_HIGH = bytes(n >> 6 for n in range(_TWO_END))
_HIGH_MORE = bytes(n >> 6 | 0x80 for n in range(_TWO_END))


class Columns(NamedTuple):
    """The decoded records of a batch, field by field, in lists of equal length.

    ``timestamps`` are in ms. ``error`` is None, or says why the record after the last one in the
    lists cannot be decoded.
    """

    timestamps: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers]
    error: Damaged | None


def _delta_bytes(index: int, count: int) -> tuple[bytes, ...]:
    """Return the first bytes of the varints of ``count`` offset deltas, their second bytes, ...

    All deltas are equally wide, and those of three bytes are in one block of 8192.
    """
    if index < _ONE_END:
        return (_LOW[index : index + count],)
    low = _LOW_MORE[index % 64 : index % 64 + count]
    if index < _TWO_END:
        return (low, _HIGH[index : index + count])
    block, start = divmod(index, _TWO_END)
    return (low, _HIGH_MORE[start : start + count], bytes((block,)) * count)


def _room(index: int) -> int:
    """Return the number of deltas from ``index`` on to the end of their width or block."""
    return (_ONE_END if index < _ONE_END else _TWO_END * (index // _TWO_END + 1)) - index


_Read: TypeAlias = tuple[int, bytes | None, bytes | None, Headers, int, int, int, int, int]


def decode(data: bytes, pos: int, count: int, base_time: int) -> Columns:
    """Decode the ``count`` records that fill ``data`` from ``pos`` to its end.

    ``base_time`` (ms) is that of the batch. The error is set at the first malformed record.
    """
    found = Columns([], [], [], [], None)
    timestamps, keys, values, all_headers, _ = found
    index = size = same = 0
    same_max = _RUN_MIN
    last_time = base_time
    while index < count:
        at = pos
        try:
            time, key, value, headers, delta, after_delta, after_key, start, pos = _read(
                data, at, index, base_time
            )
        except (IndexError, ValueError) as error:
            return found._replace(error=_malformed(index, count, error))
        timestamps.append(time)
        keys.append(key)
        values.append(value)
        all_headers.append(headers)
        index += 1
        if pos - at != size or time != last_time:
            size, last_time, same = pos - at, time, 0
            continue
        same += 1
        if same < same_max or headers:
            continue
        spans = ((at, delta), (after_delta, after_key - len(key or b"")), (after_key, start))
        template = _Template(data, at, size, (*spans, (pos - 1, pos)), delta, after_delta - delta)
        taken = template.count_alike(pos, index, count)
        if key is None:
            keys.extend(repeat(None, taken))
        else:
            keys.extend(template.parts(after_key - len(key), after_key, taken))
        if value is None:
            values.extend(repeat(None, taken))
        else:
            values.extend(template.parts(start, pos - 1, taken))
        timestamps.extend(repeat(time, taken))
        all_headers.extend(repeat((), taken))
        index += taken
        pos += taken * size
        # Where runs are short, try more rarely.
        same, same_max = 0, _RUN_MIN if taken else min(2 * same_max, _RUN_MAX)
    if pos != len(data):
        extra = Damaged(f"{len(data) - pos} extra bytes after the last of {count} records")
        return found._replace(error=extra)
    return found


class _Template(NamedTuple):
    """A record without headers in ``data``, of ``size`` bytes from ``at`` on.

    ``spans`` are the (start, end) of its constant parts. Its offset delta of ``width`` bytes is at
    ``delta``. Key and value are the rest.
    """

    data: bytes
    at: int
    size: int
    spans: tuple[tuple[int, int], ...]
    delta: int
    width: int

    def count_alike(self, pos: int, index: int, count: int) -> int:
        """Return how many records from ``pos`` on are like the template, or a smaller number.

        Their first offset delta is ``index``, and the batch has ``count`` records.
        """
        first, run = index, _RUN_MIN
        while True:
            room = 0
            if len(_delta_bytes(index, 1)) == self.width:
                room = min(count - index, (len(self.data) - pos) // self.size, _room(index))
            run = min(run, room)
            # The records before one that differs may match.
            while run and not self._matches(pos, index, run):
                run = run // 4 if run > _RUN_MIN else 0
            if not run:
                return index - first
            index += run
            pos += run * self.size
            run = min(2 * run, _RUN_MAX)

    def _matches(self, pos: int, index: int, count: int) -> bool:
        """Return whether the ``count`` records from ``pos`` on are like the template."""
        data, size = self.data, self.size
        end = pos + count * size
        to_pos = pos - self.at
        for start, stop in self.spans:
            for place in range(start, stop):
                if data[place + to_pos : end : size].count(data[place]) != count:
                    return False
        for place, wanted in enumerate(_delta_bytes(index, count), self.delta + to_pos):
            if data[place:end:size] != wanted:
                return False
        return True

    def parts(self, start: int, stop: int, count: int) -> list[bytes]:
        """Return [start, stop) of the template's next ``count`` records."""
        data, size = self.data, self.size
        length = stop - start
        places = range(start + size, start + size * (count + 1), size)
        return [data[place : place + length] for place in places]


def _read(data: bytes, pos: int, index: int, base_time: int) -> _Read:
    """Read the record at ``pos`` field by field.

    Return its fields, then the positions of its offset delta, after the delta, after the key, of
    the value, and after the record. Raises IndexError or ValueError.
    """
    raw = data[pos]
    pos += 1
    if raw > 0x7F:
        if (high := data[pos]) < 0x80:
            raw += (high << 7) - 0x80
            pos += 1
        else:
            raw, pos = _long_varint(data, pos, raw)
    end = pos + (raw >> 1)
    if raw & 1 or end > len(data):
        raise ValueError("its length is negative or exceeds the rest of the batch")
    raw = data[pos + 1]  # Skip the attributes, which are unused.
    pos += 2
    if raw > 0x7F:
        if (high := data[pos]) < 0x80:
            raw += (high << 7) - 0x80
            pos += 1
        else:
            raw, pos = _long_varint(data, pos, raw)
    timestamp = base_time + (-(raw + 1 >> 1) if raw & 1 else raw >> 1)
    if not TIMESTAMP_MIN <= timestamp < TIMESTAMP_END:
        raise ValueError(f"its timestamp {timestamp} is out of range")
    delta = pos
    coded = DELTAS[index] if index < len(DELTAS) else varint(index)
    pos += len(coded)
    if data[delta:pos] != coded:
        raise ValueError(f"its offset delta must be {index}")
    after_delta = pos
    raw = data[pos]
    pos += 1
    key: bytes | None = None
    if raw != 1:
        key, pos = _read_bytes(data, pos, raw, end)
    after_key = pos
    raw = data[pos]
    pos += 1
    if raw > 0x7F:
        if (high := data[pos]) < 0x80:
            raw += (high << 7) - 0x80
            pos += 1
        else:
            raw, pos = _long_varint(data, pos, raw)
    value: bytes | None = None
    start = pos
    if not raw & 1:
        pos += raw >> 1
        value = data[start:pos]
    elif raw != 1:
        raise ValueError("the length of its value is negative but not -1")
    headers: Headers = ()
    raw = data[pos]
    pos += 1
    if raw:
        headers, pos = _read_headers(data, pos, raw, end)
    if pos != end:
        raise ValueError(f"its fields end at byte {pos}, but its length ends at byte {end}")
    return timestamp, key, value, headers, delta, after_delta, after_key, start, pos


def _long_varint(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """Read the rest of a varint whose first byte is ``first``.

    Return its value, before zigzag decoding, and the position after it.
    """
    raw = first & 0x7F
    for shift in range(7, 70, 7):
        byte = data[pos]
        pos += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return raw, pos
    raise ValueError("a varint is longer than 10 bytes")


def _malformed(index: int, count: int, error: IndexError | ValueError) -> Damaged:
    reason = "the batch ends before the record does" if isinstance(error, IndexError) else error
    return Damaged(f"record {index} of {count} is malformed: {reason}")


def _read_bytes(data: bytes, pos: int, raw: int, end: int) -> tuple[bytes | None, int]:
    """Read bytes, or null, whose length begins with the byte ``raw``.

    Return them and the position after them.
    """
    if raw > 0x7F:
        raw, pos = _long_varint(data, pos, raw)
    if raw & 1:
        if raw != 1:
            raise ValueError("the length of its key or of a header is negative but not -1")
        return None, pos
    stop = pos + (raw >> 1)
    if stop > end:
        raise ValueError("its key or a header exceeds its length")
    return data[pos:stop], stop


def _read_headers(data: bytes, pos: int, raw: int, end: int) -> tuple[Headers, int]:
    """Read the headers whose count begins with the byte ``raw``.

    Return them and the position after them.
    """
    if raw > 0x7F:
        raw, pos = _long_varint(data, pos, raw)
    if raw & 1 or raw > end - pos:  # raw is twice the count, and a header has at least two bytes
        raise ValueError("its header count is negative or too large for its length")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(raw >> 1):
        name, pos = _read_bytes(data, pos + 1, data[pos], end)
        if name is None:
            raise ValueError("the key of a header is null")
        content, pos = _read_bytes(data, pos + 1, data[pos], end)
        found.append((name.decode(), content))
    return tuple(found), pos
