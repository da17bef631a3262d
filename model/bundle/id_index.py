"""Raw ids to node indices for single requests: a sorted table of hashes that stays on disk, mapped and shared.

Built once when a bundle is made. A look-up hashes all ids of a request together in NumPy, finds each hash by bisection
and then compares the bytes, so it is exact: it agrees with model.data.encoding.Vocabulary on every text.
Legend: n known ids, N asked ids, C bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle.array_file import load_array, save_array

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

_BASES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
"""Odd multipliers of the polynomial hash; the first that gives every known id a hash of its own is taken."""


@dataclass(frozen=True)
class IdIndex:
    """text_C: uint8, the ids in code order, each ended by a NUL byte. start_n: uint32 or int64 [n + 1], where they start.

    hash_n: uint64, ascending. code_n: int32, the code (1..n) of each hash. base: which multiplier hashes.
    """

    text_C: UInt8
    start_n: npt.NDArray[np.uint32] | Int64
    hash_n: UInt64
    code_n: Int32
    base: int

    @staticmethod
    def of(ids: Sequence[str]) -> IdIndex:
        """The index of distinct ids; code = place + 1."""
        text_C, start_N = _joined(ids)
        longest = int(np.diff(start_N).max(initial=1))
        for place, base in enumerate(_BASES):
            hash_n = _hashes(text_C, start_N, _powers(base, longest))
            order_n = np.argsort(hash_n)
            if len(hash_n) < 2 or (np.diff(hash_n[order_n]) > 0).all():
                starts = start_N.astype(np.uint32) if len(text_C) < 2**32 else start_N
                return IdIndex(text_C, starts, hash_n[order_n], (order_n + 1).astype(np.int32), place)
        raise ValueError("ids are not distinct")

    def __len__(self) -> int:
        """Known ids."""
        return len(self.code_n)

    def find(self, ids: Sequence[str]) -> Int32:
        """Codes int32 [N], 0 where unknown."""
        code_N = np.zeros(len(ids), dtype=np.int32)
        if not len(ids) or not len(self):
            return code_N
        text_C, start_N = _joined(ids)
        hash_N = _hashes(text_C, start_N, self._powers)
        place_N = np.minimum(np.searchsorted(self.hash_n, hash_N), len(self) - 1)
        near_N = self.code_n[place_N].astype(np.int64)
        length_N = np.diff(start_N)
        known_from_N = self.start_n[near_N - 1].astype(np.int64)
        same_N = (self.hash_n[place_N] == hash_N) & (self.start_n[near_N] - known_from_N == length_N)
        found = np.flatnonzero(same_N)
        if len(found):
            equal = _equal(text_C, start_N[found], self.text_C, known_from_N[found], length_N[found])
            code_N[found[equal]] = near_N[found[equal]]
        return code_N

    def id_of(self, code: int) -> str:
        """The raw id of a code from 1 to n."""
        start, end = int(self.start_n[code - 1]), int(self.start_n[code]) - 1
        return self.text_C[start:end].tobytes().decode("utf-8")

    @cached_property
    def _powers(self) -> UInt64:
        return _powers(_BASES[self.base], int(np.diff(self.start_n.astype(np.int64)).max(initial=1)))

    def save(self, folder: Path) -> None:
        """Writes the tables as id_*.npy."""
        for name, array in (
            ("text", self.text_C),
            ("start", self.start_n),
            ("hash", self.hash_n),
            ("code", self.code_n),
            ("base", np.array([self.base], dtype=np.int8)),
        ):
            save_array(folder / f"id_{name}.npy", array)

    @staticmethod
    def load(folder: Path) -> IdIndex:
        """Maps what `save` wrote."""
        text, start, hashes, code, base = (
            load_array(folder / f"id_{name}.npy") for name in ("text", "start", "hash", "code", "base")
        )
        return IdIndex(text, start, hashes, code, int(base[0]))


def _joined(ids: Sequence[str]) -> tuple[UInt8, Int64]:
    """The ids' UTF-8 bytes, each ended by NUL, and where each starts: int64 [N + 1]."""
    # A lone surrogate, which JSON can spell, is no UTF-8: passed on as it is, it equals no known id.
    text = "\0".join(ids) + "\0"
    if not ids:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    if text.count("\0") == len(ids):
        text_C = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        end_N = np.flatnonzero(text_C == 0)
    else:
        pieces = [raw.encode("utf-8", "surrogatepass") + b"\0" for raw in ids]
        text_C = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        end_N = np.cumsum([len(piece) for piece in pieces]) - 1
    return text_C, np.concatenate([[0], end_N + 1]).astype(np.int64)


def _powers(base: int, length: int) -> UInt64:
    """base^0, base^1, ... modulo 2^64; one more than the longest text, so that any longer one has a power to read."""
    return np.cumprod(np.concatenate([[1], np.full(length, base, np.uint64)]).astype(np.uint64), dtype=np.uint64)


def _hashes(text_C: UInt8, start_N: Int64, power: UInt64) -> UInt64:
    """sum_j byte_j base^j, mixed; a text beyond the powers hashes to something, and its length finds it out."""
    if len(start_N) == 1:
        return np.zeros(0, np.uint64)
    place_C = np.arange(len(text_C)) - np.repeat(start_N[:-1], np.diff(start_N))
    hash_N: UInt64 = np.add.reduceat(text_C * power[np.minimum(place_C, len(power) - 1)], start_N[:-1])
    hash_N ^= hash_N >> np.uint64(32)
    hash_N *= np.uint64(_BASES[0])
    hash_N ^= hash_N >> np.uint64(29)
    return hash_N


def _equal(
    left_C: UInt8, left_from_N: Int64, right_C: UInt8, right_from_N: Int64, length_N: Int64
) -> npt.NDArray[np.bool_]:
    """Whether two texts of equal length have equal bytes, pair by pair (every length is 1 at least: the final NUL)."""
    first_N = np.concatenate([[0], np.cumsum(length_N)[:-1]])
    place_C = np.arange(int(length_N.sum())) - np.repeat(first_N, length_N)
    left = left_C[np.repeat(left_from_N, length_N) + place_C]
    right = right_C[np.repeat(right_from_N, length_N) + place_C]
    same: npt.NDArray[np.bool_] = np.logical_and.reduceat(left == right, first_N)
    return same
