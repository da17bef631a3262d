"""A checkpoint handed from the first worker to all others, so that none of them has to find it for itself.

It travels as JSON and as the tensors' bytes, over the process group that gradients use.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from model.training.checkpoint import Position, Saved
from model.training.world import World


class _Tensor(BaseModel):
    """dtype: as torch names it, without its package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dtype: str
    shape: tuple[int, ...]


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    position: Position
    tensors: tuple[_Tensor, ...]


def handed_over(found: Saved | None, world: World) -> Saved | None:
    """What rank 0 has found, on every worker (tensors on the CPU); `found` of the others is not looked at."""
    if world.size == 1:
        return found
    text = _text("" if found is None else _contents(*found).model_dump_json(), world)
    if not text:
        return None
    contents = _Contents.model_validate_json(text)
    tensors = {}
    for entry in contents.tensors:
        own = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype))
        if world.rank == 0 and found is not None:
            own = found[1][entry.name]
        tensors[entry.name] = _bytes(own.to(world.device).contiguous(), world).cpu()
    return contents.position, tensors


def _contents(position: Position, tensors: dict[str, Tensor]) -> _Contents:
    entries = (
        _Tensor(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
        for name, tensor in tensors.items()
    )
    return _Contents(position=position, tensors=tuple(entries))


def _text(text: str, world: World) -> str:
    """Rank 0's text, on every worker."""
    content = torch.tensor(list(text.encode()), dtype=torch.uint8, device=world.device)
    length = torch.tensor([len(content)], device=world.device)
    world.as_the_first([length])
    if world.rank != 0:
        content = torch.empty(int(length), dtype=torch.uint8, device=world.device)
    return bytes(_bytes(content, world).cpu().numpy()).decode()


def _bytes(tensor: Tensor, world: World) -> Tensor:
    """`tensor` itself, filled with rank 0's bytes, whatever its type."""
    if tensor.numel():
        world.as_the_first([tensor.reshape(-1).view(torch.uint8)])
    return tensor
