"""What a request brings to its pairs, computed by ONNX Runtime: eager torch spends most of it between its operators.

The graph goes from node indices and context codes to the users' parts of a factorised form. Tables that have a row per
node are its inputs, so that they stay mapped and shared; only small weights are inside.
Legend: R requests, P width of a part, F sparse and G dense context features, k kept edges, D embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.nets.factorised import Factorised
from model.nets.interface import Architecture, FeatureBatch
from model.nets.node_store import NodeStore
from serving.ranker.compiled import MOST_REQUESTS
from serving.ranker.onnx_session import OnnxSession

GRAPH = "request.onnx"
Arguments = tuple[Tensor, FeatureBatch]


class RequestPart(nn.Module):
    """(user_R, context) -> [R, P]; each table of the nodes is a buffer or a parameter, to be told apart by name."""

    def __init__(self, architecture: Architecture, factorised: Factorised, store: NodeStore) -> None:
        super().__init__()
        self.architecture = architecture
        self.factorised = factorised
        self._users = store.user_table
        for name, table in _tensors_of(store.user_table).items():
            self.register_buffer(name, table)

    def forward(self, user_R: Tensor, context: FeatureBatch) -> Tensor:
        users = _with_tensors(self._users, dict(self.named_buffers(recurse=False)))
        first_R = torch.zeros_like(user_R)
        half = self.architecture.user_half(users.take(user_R, first_R, first_R))
        part_RP: Tensor = self.factorised.user_part(half, context)
        return part_RP


class NodeTables:
    """Tensors of a module that have a row per node: their names, and each of them once."""

    def __init__(self, module: nn.Module, rows: frozenset[int]) -> None:
        state = dict(module.named_parameters(remove_duplicate=False)) | dict(
            module.named_buffers(remove_duplicate=False)
        )
        places: dict[int, int] = {}
        self.tables: list[Tensor] = []
        self.place: dict[str, int] = {}
        for name, values in state.items():
            if values.ndim and values.numel() and values.shape[0] in rows:
                if values.data_ptr() not in places:
                    places[values.data_ptr()] = len(self.tables)
                    self.tables.append(values.detach())
                self.place[name] = places[values.data_ptr()]


class _Exported(nn.Module):
    """The module as a function of its tables."""

    def __init__(self, module: RequestPart, place: Mapping[str, int]) -> None:
        super().__init__()
        self.module = module
        self.place = place

    def forward(
        self, user_R: Tensor, sparse_RF: Tensor, dense_RG: Tensor, multi: list[Tensor], tables: list[Tensor]
    ) -> Tensor:
        context = FeatureBatch(sparse_RF, dense_RG, tuple(multi))
        named = {name: tables[place] for name, place in self.place.items()}
        return cast("Tensor", torch.func.functional_call(self.module, named, (user_R, context)))


def export_request(module: RequestPart, nodes: NodeTables, arguments: Arguments, folder: Path) -> None:
    """Writes the graph into `folder`; `arguments`: two requests. Needs the packages onnx and onnxscript."""
    user_R, context = arguments
    given = (user_R, context.sparse_BF, context.dense_BG, list(context.multi), nodes.tables)
    requests = {0: torch.export.Dim("requests", min=1, max=MOST_REQUESTS)}
    shapes = (requests, requests, requests, [requests] * len(context.multi), [None] * len(nodes.tables))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its own deprecations
        whole = _Exported(module, nodes.place).eval()
        program = torch.export.export(whole, given, dynamic_shapes=shapes)
        program = program.run_decompositions({torch.ops.aten.embedding_bag.padding_idx: _bags_of_equal_size})
        graph = torch.onnx.export(program, dynamo=True, verbose=False)
    if graph is None:
        raise RuntimeError("the ONNX exporter gave no graph")
    graph.save(str(folder / GRAPH), external_data=False)


class OnnxRequest:
    """Runs a graph that `export_request` wrote: (user_R, context) -> part_RP."""

    def __init__(self, nodes: NodeTables, folder: Path, threads: int) -> None:
        self._session = OnnxSession(folder / GRAPH, threads)
        names = self._session.inputs
        first = len(names) - len(nodes.tables)
        self._names = names[:first]
        self._tables = dict(zip(names[first:], (table.numpy() for table in nodes.tables), strict=True))

    def __call__(self, user_R: Tensor, context: FeatureBatch) -> Tensor:
        given = (user_R, context.sparse_BF, context.dense_BG, *context.multi)
        feed = dict(zip(self._names, (each.contiguous().numpy() for each in given), strict=True))
        return torch.from_numpy(self._session.run(feed | self._tables))


def _tensors_of(table: Any) -> dict[str, Tensor]:
    """Tensors of nested dataclasses by the path of their names; buffers' names hold no dots."""
    found: dict[str, Tensor] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif isinstance(value, tuple):
            found |= {f"{field.name}__{place}": each for place, each in enumerate(value)}
        elif is_dataclass(value):
            found |= {f"{field.name}__{name}": each for name, each in _tensors_of(value).items()}
    return found


def _with_tensors(table: Any, given: Mapping[str, Tensor], prefix: str = "") -> Any:
    """The dataclass with the tensors that `_tensors_of` named."""
    changed: dict[str, Any] = {}
    for field in fields(table):
        value, name = getattr(table, field.name), f"{prefix}{field.name}"
        if isinstance(value, Tensor):
            changed[field.name] = given[name]
        elif isinstance(value, tuple):
            changed[field.name] = tuple(given[f"{name}__{place}"] for place in range(len(value)))
        elif is_dataclass(value):
            changed[field.name] = _with_tensors(value, given, f"{name}__")
    return replace(table, **changed)


def _bags_of_equal_size(  # noqa: PLR0917  # the operator's own arguments
    weight_nD: Tensor,
    index_C: Tensor,
    offset_R: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_C: Tensor | None = None,
    include_last_offset: bool = False,
    padding_index: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """torch.embedding_bag of bags of equal size, as all of ours are, by one product a bag: ONNX knows loops only.

    mode 0 is the sum, 1 the mean over what is no padding.
    """
    if mode > 1:
        raise RuntimeError(f"embedding_bag in mode {mode} has no form here")
    rows_RkD = weight_nD[index_C].view(offset_R.shape[0], -1, weight_nD.shape[1])
    share_C = torch.ones_like(index_C, dtype=weight_nD.dtype) if per_sample_C is None else per_sample_C
    if padding_index is not None and padding_index >= 0:
        share_C = share_C * (index_C != padding_index)
    share_R1k = share_C.view(offset_R.shape[0], 1, -1)
    bag_RD = torch.bmm(share_R1k, rows_RkD).squeeze(1)
    if mode == 1:
        bag_RD = bag_RD / share_R1k.sum(dim=2).clamp(min=1)
    return bag_RD, offset_R, offset_R, offset_R
