"""The numbers of variable length in a batch of format 2, read so that none leads out of the batch.

aiokafka's own reader, in C, reads wherever it is told to, and a length in a foreign record may say anything.
"""

from aiokafka.errors import CorruptRecordException


class Varints:
    """Reads ``data`` from ``position`` on. Everything raises CorruptRecordException at what cannot be."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def number(self) -> int:
        """The number that is next."""
        value = 0
        for shift in range(0, 70, 7):
            if self.position >= len(self._data):
                raise CorruptRecordException("a length leads out of the batch")
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise CorruptRecordException("a number has too many bytes")

    def skip(self) -> None:
        """Go behind a length and its bytes."""
        length = self.number()
        self.position += max(length, 0)
        if self.position > len(self._data):
            raise CorruptRecordException("a length leads out of the batch")

    def nullable(self) -> bytes | None:
        """A length and its bytes; None: it is null."""
        length = self.number()
        if length < 0:
            return None
        start, self.position = self.position, self.position + length
        if self.position > len(self._data):
            raise CorruptRecordException("a length leads out of the batch")
        return self._data[start : self.position]
