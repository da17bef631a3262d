"""Which arm a unit gets: a pure function of the experiment's salt and the unit's id, the same that Envoy computes.

Envoy hashes the header `x-mgoe-unit`, rewritten to `salt:unit`, with xxHash64 (seed 0) and takes the remainder by the
sum of the weights (envoy.config.route.v3.WeightedCluster, use_hash_policy); the candidate's cluster is the first in the
list, so it has the buckets below its weight. Raising the weight therefore only moves units to the candidate, and
lowering it gives back the same ones (invariant 9). `vectors.json` has published examples.
"""

from __future__ import annotations

import re
from typing import Literal

import xxhash

from model.errors import UserError

Arm = Literal["baseline", "candidate"]

BUCKETS = 10_000
"""A weight is a number of buckets: the candidate's share in basis points."""
_CHARACTER = "|".join(
    (
        r"[\x21-\x2b\x2d-\x7e]",
        r"[\xc2-\xdf][\x80-\xbf]",
        r"\xe0[\xa0-\xbf][\x80-\xbf]",
        r"[\xe1-\xec\xee\xef][\x80-\xbf]{2}",
        r"\xed[\x80-\x9f][\x80-\xbf]",
        r"\xf0[\x90-\xbf][\x80-\xbf]{2}",
        r"[\xf1-\xf3][\x80-\xbf]{3}",
        r"\xf4[\x80-\x8f][\x80-\xbf]{2}",
    )
)
"""One character of UTF-8 as bytes (RFC 3629, section 4), without commas and ASCII white space and controls."""
UNIT = f"(?:{_CHARACTER}){{1,256}}"
"""Unit ids that are taken: 1 to 256 characters; a pattern of bytes, for Envoy (RE2 there knows no UTF-8) and here.

HTTP trims white space at the ends of a header, reads repeated headers as one with commas, and cannot carry controls:
with any of them, what the gateway hashes might not be what its caller meant. White space and controls beyond ASCII
(U+0085, U+00A0, U+3000) are bytes like others to HTTP, and taken.
"""
SALT = r"[A-Za-z0-9._-]{1,64}"
"""Salts and names of experiments: they go into a rewrite pattern and into paths as they are."""

_UNIT = re.compile(UNIT.encode("ascii"))
_SALT = re.compile(SALT)


def bucket(salt: str, unit: str) -> int:
    """The unit's bucket, 0..9999. Raises UserError for a salt or a unit id that the gateway refuses."""
    check_salt(salt)
    check_unit(unit)
    return xxhash.xxh64_intdigest(f"{salt}:{unit}".encode()) % BUCKETS


def arm(bucket: int, candidate_weight: int) -> Arm:
    """The arm of a bucket where the candidate has that many of the buckets. Raises UserError outside 0..10000."""
    check_weight(candidate_weight)
    return "candidate" if bucket < candidate_weight else "baseline"


def check_unit(unit: str) -> None:
    """Raises UserError where the gateway answers 400."""
    if not _UNIT.fullmatch(unit.encode("utf-8", "surrogatepass")):  # a lone surrogate is no character, and no match
        raise UserError(
            f"unit id {unit[:80]!r}: write 1 to 256 characters without ASCII white space, ASCII controls and commas"
        )


def check_salt(salt: str) -> None:
    """Raises UserError for a salt that cannot be rendered."""
    if not _SALT.fullmatch(salt):
        raise UserError(f"salt or name {salt[:80]!r}: write 1 to 64 letters, digits, dots, dashes or underscores")


def check_weight(candidate_weight: int) -> None:
    """Raises UserError outside 0..10000."""
    if not 0 <= candidate_weight <= BUCKETS:
        raise UserError(f"candidate weight {candidate_weight}: write 0 to {BUCKETS} (basis points)")
