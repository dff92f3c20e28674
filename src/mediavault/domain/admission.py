"""Who may stay in a full cache: how often each thing was asked for lately, counted in a few bytes a thing.

A count-min sketch of the kind TinyLFU uses: four rows of counters up to 15, of which the smallest is believed. It may
say too much where several things share their counters, never too little. All counters are halved at intervals, so that
what was popular last week gives way to what is popular today.
"""

_ROWS = 4
_MOST = 15
_LEAST_WIDTH = 1 << 10
_PER_THING = 4
#: Halved once so many sightings a thing were counted.
_PERIOD = 10
#: Odd multipliers, one a row: they spread a hash over the row differently.
_SPREAD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
_WORD = (1 << 64) - 1
_HALVED = bytes(value >> 1 for value in range(256))


class Frequencies:
    """How often each key was seen lately, 0 to 15. 16 to 32 bytes for each thing there is room for."""

    def __init__(self) -> None:
        self._width = _LEAST_WIDTH
        self._rows = [bytearray(self._width) for _ in range(_ROWS)]
        self._seen = 0

    def __len__(self) -> int:
        """How many bytes the counters take."""
        return _ROWS * self._width

    def see(self, key: str, times: int = 1) -> None:
        """Count sightings of a key."""
        places = self._places(key)
        least = min(row[place] for row, place in zip(self._rows, places, strict=True))
        raised = min(_MOST, least + times)
        for row, place in zip(self._rows, places, strict=True):
            if row[place] < raised:  # the others count something else too
                row[place] = raised
        self._seen += times
        if self._seen >= _PERIOD * self._width // _PER_THING:
            self._age()

    def copy(self) -> "Frequencies":
        """The same counts, to be read while these go on."""
        copied = Frequencies()
        copied._width, copied._rows, copied._seen = self._width, [bytearray(row) for row in self._rows], self._seen
        return copied

    def of(self, key: str) -> int:
        """How often a key was seen, or a little more."""
        return min(row[place] for row, place in zip(self._rows, self._places(key), strict=True))

    def make_room(self, things: int) -> None:
        """Widen for so many things. What is known of each key stays: a row is repeated, not begun anew."""
        while self._width < _PER_THING * things:
            self._width *= 2
            self._rows = [row + row for row in self._rows]

    def _age(self) -> None:
        self._rows = [row.translate(_HALVED) for row in self._rows]
        self._seen //= 2

    def _places(self, key: str) -> list[int]:
        number, mask = hash(key) & _WORD, self._width - 1
        return [((number * factor & _WORD) >> 32) & mask for factor in _SPREAD]


def outranks(candidate: int, victim: int) -> bool:
    """Whether what was asked for `candidate` times may push out what was asked for `victim` times.

    A cache saves bytes of the origin, and each byte is worth the frequency of its object, whatever the sizes. Between
    two that were asked for once the newer one wins. Any other tie is left as it is: a loop over more than the cache
    holds would otherwise push out every copy just before its next use.
    """
    return candidate > victim or candidate == victim <= 1
