"""Ports: free ones, each its own, kept where they can be."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from serving.stack.ports import HOST, RANGE, chosen, is_free

NAMES = ("gateway", "evidence", "controller")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        sock.listen(1)
        yield sock.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)


@given(seed=st.integers(0, 2**32))
def test_every_name_gets_a_free_port_of_its_own_below_those_of_outgoing_connections(seed: int) -> None:
    ports = chosen(NAMES, {}, {}, random.Random(seed))
    assert set(ports) == set(NAMES)
    assert len(set(ports.values())) == len(NAMES)
    assert all(port in RANGE for port in ports.values())


def test_a_port_of_before_is_kept() -> None:
    before = chosen(NAMES, {}, {})
    assert chosen(NAMES, {}, before) == before


def test_a_port_of_before_that_is_taken_now_gives_way(taken: int) -> None:
    assert chosen(NAMES, {}, {"gateway": taken})["gateway"] != taken


def test_an_asked_port_that_is_taken_is_refused_by_its_name(taken: int) -> None:
    with pytest.raises(UserError, match=f"port {taken} for gateway is taken"):
        chosen(NAMES, {"gateway": taken}, {})


def test_one_port_asked_for_twice_is_refused() -> None:
    free = chosen(NAMES, {}, {})["gateway"]
    with pytest.raises(UserError, match="is asked for gateway and for evidence"):
        chosen(NAMES, {"gateway": free, "evidence": free}, {})


def test_an_asked_port_is_taken_from_who_had_it_before() -> None:
    before = chosen(NAMES, {}, {})
    ports = chosen(NAMES, {"evidence": before["gateway"]}, before)
    assert ports["evidence"] == before["gateway"]
    assert ports["gateway"] != before["gateway"]
