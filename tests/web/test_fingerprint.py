"""Fingerprints of requests with an idempotency key: the store keeps them while daemons are replaced by newer ones."""

from unittest.mock import Mock

import pytest

from presque.http.request import Request
from presque.web.fingerprint import fingerprint
from presque.web.y2010.insertion import fingerprint_of

JOBS = [b'{"n":1}', b"{}"]


def test_a_fingerprint_stays_the_same_from_one_release_to_the_next():
    assert fingerprint(b'{"payload":1}') == b"e31a84ccf956ca829e63a1418fb61934"


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        (b"POST", b"/q/foo", b"?uniq=k&delayed=12.5", b"ae3cf5434ff6d3e5b82c7c4fb99e96e1"),
        (b"PUT", b"/qb/foo", b"", b"b7a02f202beef03caca397ba050bc270"),
        (b"POST", b"/q/foo", b"", b"612dd2c9b4c46de4b6056ce9dd541515"),
    ],
)
def test_the_fingerprint_of_an_insertion_stays_the_same_too(method, path, query, expected):
    request = Request(Mock(), method, path + query, b"HTTP/1.1", Mock())
    request.path = path
    assert fingerprint_of(request, JOBS) == expected


def test_jobs_that_are_cut_at_other_places_are_other_jobs():
    request = Request(Mock(), b"POST", b"/qb/foo", b"HTTP/1.1", Mock())
    assert fingerprint_of(request, [b"{}", b"{}"]) != fingerprint_of(request, [b"{}{}"])
