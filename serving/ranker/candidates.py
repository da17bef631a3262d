"""The candidates of several requests as rows to score.

A user meets each item once: what a request names twice, and all its unknown items, share one row, so that they tie
exactly and keep the request's order. Legend: R requests, C candidates of all requests, N rows to score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle.bundle import Bundle
from serving.ranker.request import RankRequest

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """user_R, item_N: int64 node indices. owner_N: int64, the request of each row. end_R: where its candidates end.

    row_of_candidate: for every candidate the row that scores it: int64 [C], or a slice where that is the candidate's
    own place.
    """

    user_R: Tensor
    item_N: Tensor
    owner_N: Tensor
    end_R: Int64
    row_of_candidate: Int64 | slice
    cold_items_R: Int64

    @staticmethod
    def of(bundle: Bundle, requests: Sequence[RankRequest]) -> Candidates:
        if len(requests) == 1:
            return Candidates._of_one(bundle, requests[0])
        count_R = np.array([len(request.items) for request in requests], dtype=np.int64)
        item_C = bundle.items.find([item for request in requests for item in request.items]).astype(np.int64)
        owner_C = np.repeat(np.arange(len(requests), dtype=np.int64), count_R)
        item_N, owner_N, row_of_candidate = _once(item_C, owner_C)
        return Candidates(
            user_R=torch.from_numpy(bundle.users.find([request.user for request in requests]).astype(np.int64)),
            item_N=torch.from_numpy(item_N),
            owner_N=torch.from_numpy(owner_N),
            end_R=np.cumsum(count_R),
            row_of_candidate=row_of_candidate,
            cold_items_R=np.bincount(owner_C[item_C == 0], minlength=len(requests)),
        )

    @staticmethod
    def _of_one(bundle: Bundle, request: RankRequest) -> Candidates:
        """The same for a single request, without what tells requests apart."""
        item_C = bundle.items.find(request.items).astype(np.int64)
        item_N, row_of_candidate = _once_of_one(item_C)
        return Candidates(
            user_R=torch.from_numpy(np.array([bundle.users.find_one(request.user)])),
            item_N=torch.from_numpy(item_N),
            owner_N=torch.from_numpy(np.zeros(len(item_N), dtype=np.int64)),
            end_R=np.array([len(item_C)]),
            row_of_candidate=row_of_candidate,
            cold_items_R=np.array([len(item_C) - np.count_nonzero(item_C)]),
        )

    def spans(self) -> Iterator[tuple[tuple[int, int], bool, int]]:
        """Of each request: where its candidates begin and end, whether its user is unknown, how many items are."""
        first = 0
        for end, user, cold in zip(self.end_R, self.user_R.tolist(), self.cold_items_R, strict=True):
            yield (first, int(end)), user == 0, int(cold)
            first = int(end)


def _once_of_one(item_C: Int64) -> tuple[Int64, Int64 | slice]:
    """Each item once; where one comes twice, rows are in the order of their items."""
    sorted_C = np.sort(item_C)
    new_C = sorted_C[1:] != sorted_C[:-1]
    if new_C.all():
        return item_C, slice(None)
    item_N = sorted_C[np.concatenate([[True], new_C])]
    return item_N, np.searchsorted(item_N, item_C)


def _once(item_C: Int64, owner_C: Int64) -> tuple[Int64, Int64, Int64 | slice]:
    """Each (request, item) once; where one comes twice, rows are in the order of their items."""
    pair_C = owner_C << np.int64(32) | item_C
    order_C = np.argsort(pair_C)
    sorted_C = pair_C[order_C]
    again_C = sorted_C[1:] == sorted_C[:-1]
    if not again_C.any():
        return item_C, owner_C, slice(None)
    new_C = np.concatenate([[True], ~again_C])
    row_of_candidate = np.empty_like(pair_C)
    row_of_candidate[order_C] = np.cumsum(new_C) - 1
    pair_N = sorted_C[new_C]
    return pair_N & np.int64(2**32 - 1), pair_N >> np.int64(32), row_of_candidate
