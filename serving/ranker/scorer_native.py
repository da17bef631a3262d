"""Pairs of MMoE and MGOE scored by native_pairs.cpp, compiled for this processor when the cache is filled.

ONNX Runtime writes every step's outputs to memory and reads them again; here a block of pairs goes through the whole
net within the first cache. Legend: N pairs, R requests, T tasks, P parts.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import torch
from torch import Tensor
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from model.nets.interface import Half
from serving.ranker.form import PART, FactorisedForm
from serving.ranker.native_weights import pack
from serving.ranker.settings import ScorerName

SOURCES = tuple(Path(__file__).with_name(name) for name in ("native_pairs.cpp", "native_ids.cpp"))
LIBRARY = "native.so"
# A sum of products may be contracted, never reordered.
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_COMPILE_S = 120.0


def compile_library(folder: Path) -> None:
    """Writes the library into `folder`. Raises RuntimeError where there is no C++ compiler, or it refuses."""
    try:
        command = [get_cpp_compiler(), *_FLAGS, *map(str, SOURCES), "-o", str(folder / LIBRARY)]
        subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=True)  # noqa: S603  # ours
    except InvalidCxxCompiler:
        raise RuntimeError(
            "there is no C++ compiler: fill the cache by `mgoe prepare` where there is one (image serve-compiler)"
        ) from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"the C++ compiler refuses the native code: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the C++ compiler took longer than {_COMPILE_S:g} s") from None


class _Parts(ctypes.Structure):
    """struct Parts."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("user", "table", "owner", "item")),
        *((name, ctypes.c_int64) for name in ("count", "user_width", "item_width")),
    )


class NativeScorer:
    """Runs a library that `compile_library` wrote. Safe to run from several threads."""

    name: ScorerName = "native"

    def __init__(self, form: FactorisedForm, items: Half, library: Path) -> None:
        """Raises NotCovered where the code does not know the model; OSError."""
        packed = pack(form.factorised)
        self.form = form
        self._table_nP = items[PART]
        self._numbers, self._weights = packed.arrays()
        self._tasks = packed.numbers[0]
        self._run = getattr(ctypes.CDLL(str(library)), packed.entry)
        self._run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_Parts), ctypes.c_void_p)
        self._run.restype = None

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        user_RP, owner_N, item_N = users[PART].contiguous(), owner_N.contiguous(), item_N.contiguous()
        logit_NT = torch.empty(len(item_N), self._tasks)
        parts = _Parts(
            *(tensor.data_ptr() for tensor in (user_RP, self._table_nP, owner_N, item_N)),
            *(len(item_N), user_RP.shape[1], self._table_nP.shape[1]),
        )
        self._run(self._numbers.ctypes.data, self._weights.ctypes.data, parts, logit_NT.data_ptr())
        return logit_NT
