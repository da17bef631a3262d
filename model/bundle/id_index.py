"""Raw ids to node indices for single requests: hashes in order, on disk, mapped and shared by all workers.

Built once when a bundle is made. A look-up hashes all ids of a request together in NumPy, goes to each hash through a
directory of the leading bits, and then compares the bytes: it agrees with model.data.encoding.Vocabulary on every text.
Legend: n known ids, N asked ids, C bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle.array_file import load_array, save_array
from model.errors import UserError

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

_BASES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
"""Odd multipliers of the polynomial hash; the first that gives every known id a hash of its own is taken."""
_MASK = 2**64 - 1
_DTYPES = {
    "text": (np.uint8,),
    "start": (np.uint32, np.int64),
    "hash": (np.uint64,),
    "code": (np.int32,),
    "directory": (np.int32,),
    "base": (np.int8,),
}
_ARRAYS = tuple(_DTYPES)


@dataclass(frozen=True)
class IdIndex:
    """text_C: uint8, the ids in code order, each ended by a NUL byte. start: uint32 or int64 [n + 1], where each is.

    hash_n: uint64, ascending. code_n: int32, the code (1..n) of each hash. directory: int32, for every value of the
    leading bits the first hash that has it or a larger one. base: which multiplier hashes.
    """

    text_C: UInt8
    start: npt.NDArray[np.uint32] | Int64
    hash_n: UInt64
    code_n: Int32
    directory: Int32
    base: int

    @staticmethod
    def of(ids: Sequence[str]) -> IdIndex:
        """The index of distinct ids; code = place + 1."""
        text_C, start = _joined(ids)
        place_C = _places(start, start[1:] - start[:-1])
        for base in range(len(_BASES)):
            hash_n = _hashes(text_C, start, place_C, _powers(base, start))
            order_n = np.argsort(hash_n)
            sorted_n = hash_n[order_n]
            if (sorted_n[1:] > sorted_n[:-1]).all():
                starts = start.astype(np.uint32) if len(text_C) < 2**32 else start
                code_n = (order_n + 1).astype(np.int32)
                return IdIndex(text_C, starts, sorted_n, code_n, _directory(sorted_n), base)
        raise ValueError("ids are not distinct")

    def __len__(self) -> int:
        """Known ids."""
        return len(self.code_n)

    def find(self, ids: Sequence[str]) -> Int32:
        """Codes int32 [N], 0 where unknown."""
        if len(ids) == 0 or len(self) == 0:
            return np.zeros(len(ids), dtype=np.int32)
        if len(ids) == 1:
            return np.array([self.find_one(ids[0])], dtype=np.int32)
        text_C, start = _joined(ids)
        length_N = start[1:] - start[:-1]
        place_C = _places(start, length_N)
        hash_N = _hashes(text_C, start, place_C, self._powers)
        found_N = self._place(hash_N)
        code_N = self.code_n.take(found_N, mode="clip")
        known_N = self.start.take(code_N - 1)
        same_N = self.hash_n.take(found_N, mode="clip") == hash_N
        same_N &= self.start.take(code_N) - known_N == length_N
        # Where hash and length agree, the bytes decide; elsewhere whatever is compared does not count.
        place_C += np.repeat(known_N, length_N)
        same_C = self.text_C.take(place_C, mode="clip") == text_C
        same_N &= np.logical_and.reduceat(same_C, start[:-1])
        known: Int32 = code_N * same_N
        return known

    def find_one(self, raw: str) -> int:
        """The code of one id, 0 where unknown: `find` without the price of calling NumPy, for a request's user."""
        text = raw.encode("utf-8", "surrogatepass") + b"\0"
        if len(self) == 0 or len(text) > len(self._power_list):
            return 0
        hashed = sum(map(mul, text, self._power_list)) & _MASK
        hashed ^= hashed >> 32
        hashed = hashed * _BASES[0] & _MASK
        hashed ^= hashed >> 29
        place = int(self.directory[hashed >> int(_shift(self.directory))])
        while place < len(self) and (there := int(self.hash_n[place])) <= hashed:
            if there == hashed:
                code = int(self.code_n[place])
                known = self.text_C[int(self.start[code - 1]) : int(self.start[code])]
                return code if known.tobytes() == text else 0
            place += 1
        return 0

    def id_of(self, code: int) -> str:
        """The raw id of a code from 1 to n."""
        begin, end = int(self.start[code - 1]), int(self.start[code]) - 1
        return self.text_C[begin:end].tobytes().decode("utf-8")

    def save(self, folder: Path) -> None:
        """Writes the tables as id_*.npy."""
        base = np.array([self.base], dtype=np.int8)
        arrays = (self.text_C, self.start, self.hash_n, self.code_n, self.directory, base)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            save_array(folder / f"id_{name}.npy", array)

    @staticmethod
    def load(folder: Path) -> IdIndex:
        """Maps what `save` wrote. Raises UserError, naming the file, where one does not fit the others."""
        arrays = {name: load_array(folder / f"id_{name}.npy") for name in _ARRAYS}
        for name, array in arrays.items():
            if array.ndim != 1 or array.dtype not in _DTYPES[name]:
                right = " or ".join(np.dtype(each).name for each in _DTYPES[name])
                raise UserError(f"bundle file {folder / f'id_{name}.npy'} holds no list of {right}")
        text, start, hashes, code, directory, base = arrays.values()
        known = len(code)
        fits = {
            "text": len(start) > 0 and len(text) == int(start[-1]),
            "start": len(start) == known + 1,
            "hash": len(hashes) == known,
            "code": not known or (int(code.min()) == 1 and int(code.max()) == known),
            "directory": len(directory) == _entries(known) and (directory[:-1] <= directory[1:]).all(),
            "base": len(base) == 1 and 0 <= int(base[0]) < len(_BASES),
        }
        wrong = next((name for name, fit in fits.items() if not fit), None)
        if wrong is not None:
            raise UserError(f"bundle file {folder / f'id_{wrong}.npy'} does not fit the others; package the model anew")
        return IdIndex(text, start, hashes, code, directory, int(base[0]))

    def _place(self, hash_N: UInt64) -> Int64:
        """The first place whose hash is not below the asked one: int64 [N], n where there is none."""
        place_N = self.directory[(hash_N >> _shift(self.directory)).astype(np.int64)].astype(np.int64)
        behind = np.flatnonzero(self.hash_n.take(place_N, mode="clip") < hash_N)
        while len(behind):  # a directory entry holds one hash on average, and hardly ever ten
            place_N[behind] += 1
            behind = behind[place_N[behind] < len(self)]
            behind = behind[self.hash_n[place_N[behind]] < hash_N[behind]]
        return place_N

    @cached_property
    def _powers(self) -> UInt64:
        return _powers(self.base, self.start)

    @cached_property
    def _power_list(self) -> list[int]:
        powers: list[int] = self._powers.tolist()
        return powers


def _joined(ids: Sequence[str]) -> tuple[UInt8, Int64]:
    """The ids' UTF-8 bytes, each ended by NUL, and where each begins: int64 [N + 1]."""
    if len(ids) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    # A lone surrogate, which JSON can spell, is no UTF-8: passed on as it is, it equals no known id.
    whole = ("\0".join(ids) + "\0").encode("utf-8", "surrogatepass")
    text_C = np.frombuffer(whole, dtype=np.uint8)
    end_N = np.flatnonzero(text_C == 0)
    if len(end_N) != len(ids):  # an id holds a NUL itself
        end_N = np.cumsum([len(raw.encode("utf-8", "surrogatepass")) + 1 for raw in ids]) - 1
    start = np.zeros(len(ids) + 1, dtype=np.int64)
    start[1:] = end_N + 1
    return text_C, start


def _powers(base: int, start: npt.NDArray[np.uint32] | Int64) -> UInt64:
    """base^0, base^1, ... modulo 2^64, as many as the longest known text has bytes."""
    longest = int((start[1:] - start[:-1]).max(initial=1))
    factors = np.full(longest, _BASES[base], dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def _places(start: Int64, length_N: Int64) -> Int64:
    """Of every byte, its place within its text: int64 [C]."""
    return np.arange(start[-1]) - np.repeat(start[:-1], length_N)


def _hashes(text_C: UInt8, start: Int64, place_C: Int64, power: UInt64) -> UInt64:
    """sum_j byte_j base^j, mixed: uint64 [N]. A text longer than every known one hashes to anything: lengths differ."""
    if len(start) == 1:
        return np.zeros(0, np.uint64)
    hash_N: UInt64 = np.add.reduceat(power.take(place_C, mode="clip") * text_C, start[:-1])
    hash_N ^= hash_N >> np.uint64(32)
    hash_N *= np.uint64(_BASES[0])
    hash_N ^= hash_N >> np.uint64(29)
    return hash_N


def _directory(hash_n: UInt64) -> Int32:
    entries = _entries(len(hash_n))
    first = np.arange(entries, dtype=np.uint64) << np.uint64(64 - entries.bit_length() + 1)
    return np.searchsorted(hash_n, first).astype(np.int32)


def _entries(known: int) -> int:
    """Of the directory."""
    return 1 << max(known - 1, 1).bit_length()


def _shift(directory: Int32) -> np.uint64:
    """How far a hash is shifted for its leading bits to index the directory."""
    return np.uint64(64 - len(directory).bit_length() + 1)
