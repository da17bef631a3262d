"""An address where no Ray cluster can be is refused at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from model.errors import Fault, UserError
from model.graph.ray_address import refuse_a_dead_address


@pytest.fixture
def place() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_a_fault_that_names_it(scheme: str, place: socket.socket) -> None:
    address = f"{scheme}127.0.0.1:{place.getsockname()[1]}"
    with pytest.raises(Fault, match=f"Ray at {address}: nobody answers"):
        refuse_a_dead_address(address)
    place.listen()
    refuse_a_dead_address(address)


@pytest.mark.parametrize("address", ["head", "head:port", "head:99999", ":6379", "http://head:1", "ray://", "head:1/x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=f"Ray at {address}: needs the form host:port"):
        refuse_a_dead_address(address)


@pytest.mark.parametrize("address", ["auto", "local"])
def test_rays_own_words_for_this_machine_are_left_to_ray(address: str) -> None:
    refuse_a_dead_address(address)
