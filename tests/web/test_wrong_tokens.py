"""The limit of wrong tokens, by a clock of its own."""

import pytest
from twisted.internet.task import Clock

from presque.web.wrong_tokens import AT_ONCE, MOST, WrongTokens


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limit(clock):
    return WrongTokens(clock.seconds)


def test_some_at_once_then_one_a_second(limit, clock):
    assert [limit.wait("10.0.0.1") for _ in range(AT_ONCE)] == [0.0] * AT_ONCE
    assert limit.wait("10.0.0.1") == 1
    clock.advance(0.25)
    assert limit.wait("10.0.0.1") == 0.75
    clock.advance(0.75)
    assert limit.wait("10.0.0.1") == 0
    assert limit.wait("10.0.0.1") == 1
    clock.advance(1000)
    assert [limit.wait("10.0.0.1") > 0 for _ in range(AT_ONCE + 1)] == [False] * AT_ONCE + [True]
    assert limit.count == 2 * AT_ONCE + 5


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one client has a whole network of 64 bits
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "10.0.0.1", False),
    ],
)
def test_addresses_are_limited_apart_and_networks_of_one_client_together(limit, one, other, together):
    for _ in range(AT_ONCE):
        assert limit.wait(one) == 0
    assert limit.wait(one) > 0
    assert (limit.wait(other) > 0) == together


def test_only_so_many_addresses_are_remembered(limit):
    for number in range(3 * MOST):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        for _ in range(AT_ONCE + 1 if number % 1000 == 0 else 1):
            if limit.wait(address):
                assert limit.is_news(address)
                assert not limit.is_news(address)
    assert len(limit._left) == MOST
    assert len(limit._told) <= MOST


def test_an_address_is_news_again_once_it_was_quiet(limit, clock):
    for _ in range(AT_ONCE + 1):
        limit.wait("10.0.0.1")
    assert limit.is_news("10.0.0.1")
    clock.advance(2)
    limit.wait("10.0.0.1")
    assert not limit.is_news("10.0.0.1")
    clock.advance(60)
    limit.wait("10.0.0.1")
    assert limit.is_news("10.0.0.1")
