"""The parameters of a request, where no route shows the difference."""

from types import SimpleNamespace

from presque.web import params


def test_without_a_query_no_query_is_parsed():
    request = SimpleNamespace(target=b"/q/foo", headers={})  # it has no `query`
    assert params.query(request, b"uniq") == b""
    assert params.delayed(request) is None
    assert (params.uniq(request), params.worker(request), params.idempotency_key(request)) == (b"", "", b"")
    assert (params.wait(request), params.batch_size(request)) == (0, params.DEFAULT_BATCH)
