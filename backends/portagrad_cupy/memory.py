"""Which bytes of one arena a value lies in, by how long it is needed."""

from __future__ import annotations

from collections.abc import Iterable

ALIGNMENT = 256


class Arena:
    """Places in one block of memory, handed out again when what lay there is not needed any more."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []  # begin and end, ascending, none touching another
        self.size = 0
        self.asked = 0

    def take(self, size: int) -> tuple[int, int]:
        """Begin and end of the smallest free place that is large enough, else of new memory at the end."""
        size = -(-max(1, size) // ALIGNMENT) * ALIGNMENT
        self.asked += size
        fitting = [place for place in self.free if place[1] - place[0] >= size]
        if fitting:
            place = min(fitting, key=lambda place: place[1] - place[0])
            self.free.remove(place)
            if place[1] - place[0] > size:
                self._add((place[0] + size, place[1]))
            return place[0], place[0] + size
        if self.free and self.free[-1][1] == self.size:
            begin, _ = self.free.pop()
        else:
            begin = self.size
        self.size = begin + size
        return begin, self.size

    def give(self, places: Iterable[tuple[int, int]]) -> None:
        for place in places:
            self._add(place)

    def _add(self, place: tuple[int, int]) -> None:
        joined: list[tuple[int, int]] = []
        for begin, end in sorted([*self.free, place]):
            if joined and joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        self.free = joined
