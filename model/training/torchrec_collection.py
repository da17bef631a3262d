"""TorchRec's sharded embedding bags behind a narrow face: rows out, views on what this worker holds.

Source: TorchRec (Ivchenko et al., RecSys 2022) on fbgemm's table-batched embeddings, EXACT_ROWWISE_ADAGRAD.
Legend: B rows, L ids of a row, n rows of a table, W its width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import UserError
from model.training.config import TrainingConfig
from model.training.placement import Block
from model.training.world import World

EPSILON = 1e-8
"""As in model.training.rowwise_adagrad."""


class TorchRecCollection:
    """Tables of given shapes, each cut into blocks that lie on given workers.

    shapes: name -> (rows, width). reads: how many ways a table is read, at most. Collective, as all methods but `rate`,
    `weights` and `sums`. Raises UserError where TorchRec is not installed.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        placed: Mapping[str, Sequence[Block]],
        reads: int,
        config: TrainingConfig,
        world: World,
    ) -> None:
        self._keys = {name: _key(name) for name in shapes}
        self._shapes = shapes
        self._placed = placed
        self._reads = reads
        self._rank = world.rank
        self._jagged, self._sharded = _built(shapes, placed, reads, config, world)
        kernels = _torchrec("fbgemm_gpu.split_table_batched_embeddings_ops_training")
        kind = kernels.SplitTableBatchedEmbeddingBagsCodegen
        self._kernels = [module for module in self._sharded.modules() if isinstance(module, kind)]

    def look_up(self, asked: Mapping[str, Sequence[tuple[Tensor, Tensor | None]]]) -> dict[str, list[Tensor]]:
        """Weighted sums over rows, [B, W] for every read of every table, in the order asked.

        asked: table -> (ids int64 [B, L] or [B], weights float [B, L] or None for ones) for each of its reads. A table
        that is read fewer times than it may be is asked for nothing more.
        """
        keys, values, weights, lengths = [], [], [], []
        for name, read in asked.items():
            for number, (ids, weight) in enumerate(read):
                keys.append(_feature(self._keys[name], number))
                values.append(ids.reshape(-1))
                weights.append(torch.ones_like(values[-1], dtype=torch.float32) if weight is None else weight.flatten())
                lengths.append(torch.full((len(ids),), ids[0].numel(), dtype=torch.int32, device=ids.device))
        trains = torch.is_grad_enabled()
        with torch.inference_mode(mode=False), torch.enable_grad():  # on a CPU, fbgemm has kernels for autograd alone
            request = self._jagged.KeyedJaggedTensor(
                keys=keys, values=torch.cat(values), weights=torch.cat(weights).float(), lengths=torch.cat(lengths)
            )
            answers = self._sharded(request).wait()
        return {
            name: [_with(trains, answers[_feature(self._keys[name], number)]) for number in range(len(read))]
            for name, read in asked.items()
        }

    def rate(self, learning_rate: float) -> None:
        """Of the next backward pass."""
        for kernel in self._kernels:
            kernel.set_learning_rate(learning_rate)

    def weights(self) -> dict[tuple[str, int], Tensor]:
        """Views [n, width of the block] on the blocks that this worker holds, by table and number of the block."""
        state = self._sharded.state_dict()
        found = {}
        for name, key in self._keys.items():
            for shard in state[f"embedding_bags.{key}.weight"].local_shards():
                first = shard.metadata.shard_offsets[1]
                found[name, self._number(name, first)] = shard.tensor.detach()
        return found

    def sums(self) -> dict[tuple[str, int], Tensor]:
        """Views [n] on the optimiser's state of the same blocks."""
        state = self._sharded.fused_optimizer.state_dict()["state"]
        found = {}
        for name, key in self._keys.items():
            held = state.get(f"embedding_bags.{key}.weight")
            if held is None:
                continue
            rows = self._shapes[name][0]
            for shard in held[f"{key}.momentum1"].local_shards():  # blocks lie one after another in one vector
                found[name, shard.metadata.shard_offsets[0] // rows] = shard.tensor.detach()
        return found

    def _number(self, name: str, first: int) -> int:
        return [block.first for block in self._placed[name]].index(first)


def _built(
    shapes: Mapping[str, tuple[int, int]],
    placed: Mapping[str, Sequence[Block]],
    reads: int,
    config: TrainingConfig,
    world: World,
) -> tuple[ModuleType, Any]:
    """The module of KeyedJaggedTensor, and the collection."""
    configs, modules = _torchrec("torchrec.modules.embedding_configs"), _torchrec("torchrec.modules.embedding_modules")
    plans, bags = _torchrec("torchrec.distributed.sharding_plan"), _torchrec("torchrec.distributed.embeddingbag")
    types, optimisers = _torchrec("torchrec.distributed.types"), _torchrec("fbgemm_gpu.split_embedding_configs")
    decays = _torchrec("fbgemm_gpu.split_table_batched_embeddings_ops_training")
    logging.getLogger("torchrec").setLevel(logging.ERROR)  # it warns of cache options that nobody set
    collection = modules.EmbeddingBagCollection(
        device=torch.device("meta"),
        is_weighted=True,
        tables=[
            configs.EmbeddingBagConfig(
                name=_key(name),
                num_embeddings=rows,
                embedding_dim=width,
                feature_names=[_feature(_key(name), number) for number in range(reads)],
                pooling=configs.PoolingType.SUM,
            )
            for name, (rows, width) in shapes.items()
        ],
    )
    sharder = bags.EmbeddingBagCollectionSharder(
        fused_params={
            "optimizer": optimisers.EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            "learning_rate": config.peak_of_tables,
            "eps": EPSILON,
            "weight_decay": config.decay_of_tables,
            "weight_decay_mode": decays.WeightDecayMode.L2,
        }
    )
    plan = plans.construct_module_sharding_plan(
        collection,
        {_key(name): _spread(plans, blocks) for name, blocks in placed.items()},
        sharder=sharder,
        local_size=world.size,
        world_size=world.size,
        device_type=world.device.type,
    )
    # A group of its own: gradients of the dense part are averaged meanwhile, and the order of the two is nobody's.
    environment = types.ShardingEnv.from_process_group(dist.new_group())
    sharded = sharder.shard(collection, plan, environment, world.device)
    return _torchrec("torchrec.sparse.jagged_tensor"), sharded


def _spread(plans: ModuleType, blocks: Sequence[Block]) -> Any:
    if len(blocks) == 1:
        return plans.table_wise(rank=blocks[0].rank, compute_kernel="fused")
    return plans.column_wise(ranks=[block.rank for block in blocks], compute_kernel="fused")


def _torchrec(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"table_sharding on several workers needs TorchRec, which is not installed here ({error}): "
            "install mgoe[torchrec], or set table_sharding to none"
        ) from error


def _with(gradient: bool, tensor: Tensor) -> Tensor:
    return tensor if gradient else tensor.detach()


def _key(name: str) -> str:
    """TorchRec takes names for paths of modules."""
    return name.replace(".", "_")


def _feature(key: str, number: int) -> str:
    return f"{key}_{number}"
