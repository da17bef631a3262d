"""One side (users or items) of the graph models: ids, plain features, macro nodes, micro neighbours.

Tables belong to the nodes that they hold, whoever reads them: a user's one-hop macro neighbours and recents are items,
so the user's half reads the item side's tables.
Legend: B rows, T streams (one expert each), S id streams (T, or 1 where all experts share one id table), D id width,
P = 2 D, X plain inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from model.errors import UserError
from model.nets.config import MacroOptions
from model.nets.embedding import NodeFeatures, graph_of
from model.nets.id_table import IdReads, IdRows, IdTable
from model.nets.interface import Batch, FeatureCards, Half, InputSpec, NodeBatch
from model.nets.macro_experts import MacroNeighbours, pack, unpack
from model.nets.micro_neighbours import micro_neighbours, micro_weights
from model.nets.stacked import StackedLinear


@dataclass(frozen=True)
class Streams:
    """experts: T. ids: S, how many id tables they read. tasks: of the log (log-degrees come per task). means: columns
    of the graph's neighbour means."""

    experts: int
    ids: int
    tasks: int
    means: int = 0


class MacroSide(nn.Module):
    """Everything that one side owns, and the half of a score that depends on it alone."""

    def __init__(self, nodes: int, cards: FeatureCards, groups: int, streams: Streams, options: MacroOptions) -> None:
        super().__init__()
        dim = options.inputs.id_dim
        self.options = options
        self.streams = streams
        self.id: IdRows | None = IdTable(nodes, streams.ids * dim, options.inputs) if options.inputs.ids else None
        if self.id is None and options.attention == "target":
            raise UserError("attention is target but inputs.ids is false: target attention matches against ids")
        self.plain = (
            NodeFeatures(cards, groups, streams.tasks, options.inputs, means=streams.means) if options.plain else None
        )
        self.macro = MacroNeighbours(groups, streams.experts, dim, options)
        has_micro = options.micro and self.id is not None
        tied = options.micro_projection == "tied"
        self.project_micro = StackedLinear(streams.ids, dim, 2 * dim, bias=False) if has_micro and not tied else None
        """Of this side's recents, which are nodes of the other side."""
        self.ids_are_shared = streams.ids < streams.experts
        self.micro_is_shared = self.ids_are_shared and not tied
        self.plain_width = 0 if self.plain is None else self.plain.width
        self.id_width = 0 if self.id is None else dim
        self.micro_width = 2 * dim if has_micro else 0
        self.hop_width = (4 if options.two_hop else 2) * dim

    def half_of(self, node: NodeBatch, other: MacroSide) -> Half:
        """id_BSD, plain_BX, micro ([B, T or S, P]), hop1 and hop2 ([B, T, P]).

        With attention "target" hop1 depends on the pair, so its edge weights are carried instead.
        """
        graph = graph_of(node)
        half: Half = {}
        own_BTD: Tensor | None = None
        if self.id is not None:
            half["id_BSD"] = self._by_stream(self.id.look_up(node.id_B))
            own_BTD = half["id_BSD"].expand(-1, self.streams.experts, -1)
        if self.plain is not None:
            half["plain_BX"] = self.plain(node)
        hop1 = other.macro.weights(graph.hop1)
        if self.options.attention == "target":
            half |= pack("hop1", hop1)
        else:
            half["hop1_BTP"] = other.macro(hop1)
        if self.options.two_hop:
            half["hop2_BTP"] = self.macro(self.macro.weights(graph.hop2), own_BTD)
        if self.options.micro and other.id is not None:
            mean_BW = micro_neighbours(graph, other.id, self.options.micro_weight)
            half["micro_BSP"] = self._projected(self._by_stream(mean_BW), other)
        return half

    def _by_stream(self, row_BW: Tensor) -> Tensor:
        return row_BW.view(row_BW.shape[0], self.streams.ids, -1)

    def _projected(self, micro_BSD: Tensor, other: MacroSide) -> Tensor:
        if self.project_micro is not None:
            return self.project_micro(micro_BSD)  # type: ignore[no-any-return]
        return other.macro.project(micro_BSD.expand(-1, self.streams.experts, -1))  # type: ignore[no-any-return]

    def hops(self, half: Half, other: MacroSide, other_half: Half) -> list[Tensor]:
        """The macro neighbours of this side in a score: [B, T, P] each, one-hop first."""
        if self.options.attention == "target":
            target_BTD = other_half["id_BSD"].expand(-1, self.streams.experts, -1)
            hops = [other.macro(unpack("hop1", half, self.options.padding_node), target_BTD)]
        else:
            hops = [half["hop1_BTP"]]
        return [*hops, half["hop2_BTP"]] if self.options.two_hop else hops


def side_pair(spec: InputSpec, streams: Streams, options: MacroOptions, name: str) -> tuple[MacroSide, MacroSide]:
    """The user's and the item's side. Raises UserError where there is no graph to read."""
    if spec.graph is None:
        raise UserError(
            f"architecture {name} reads a macro graph and there is none: give one with --graph "
            "(make it with `mgoe graph build`)"
        )
    users, items = spec.graph.n_user_groups, spec.graph.n_item_groups
    streams = replace(streams, means=spec.graph.means)
    return (
        MacroSide(spec.n_users, spec.user, users, streams, options),
        MacroSide(spec.n_items, spec.item, items, streams, options),
    )


def id_reads(users: MacroSide, items: MacroSide, batch: Batch) -> tuple[IdReads, ...]:
    """What a batch reads of both id tables: a table's own nodes, and those that are recents of the other side."""
    reads = ((users, batch.user, batch.item), (items, batch.item, batch.user))
    return tuple(_reads(side, side.id, own, other) for side, own, other in reads if side.id is not None)


def _reads(side: MacroSide, table: IdRows, own: NodeBatch, other: NodeBatch) -> IdReads:
    if not side.options.micro:
        return IdReads(table, own.id_B)
    graph = graph_of(other)
    return IdReads(table, own.id_B, graph.recent_BL, micro_weights(graph, side.options.micro_weight))


def plain_inputs(user: Half, item: Half) -> list[Tensor]:
    """Plain features of both sides, where there are any."""
    return [half["plain_BX"] for half in (user, item) if "plain_BX" in half]


def shared_inputs(side: MacroSide, half: Half) -> list[Tensor]:
    """What is equal for all experts and so enters once: ids and micro neighbours of one shared table, [B, ...]."""
    names = [("id_BSD", side.ids_are_shared), ("micro_BSP", side.micro_is_shared)]
    return [half[name].flatten(1) for name, is_shared in names if is_shared and name in half]


def all_ids(user: Half, item: Half) -> list[Tensor]:
    """[e_u; e_i] of all id tables, [B, S D] each."""
    return [half["id_BSD"].flatten(1) for half in (user, item) if "id_BSD" in half]


def concatenated(parts: list[Tensor]) -> Tensor:
    """Side by side along the last dimension."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
