from collections.abc import Iterator

import pytest
from redis import exceptions as theirs

from addrmesh.errors import AddrmeshError
from addrmesh.store.connection import Connection, Endpoint, Hung
from addrmesh.store.store import StoreUnavailable


def tree(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    for below in error.__subclasses__():
        yield from tree(below)


ADDRESS = "浙江省杭州市"


@pytest.mark.parametrize("error", sorted(set(tree(theirs.RedisError)), key=lambda error: error.__name__))
def test_no_error_of_redis_py_leaks(error: type[Exception]) -> None:
    raised = error.__new__(error, ADDRESS)
    raised.args = (ADDRESS,)
    with pytest.raises(StoreUnavailable) as caught, connection().translated():
        raise raised
    assert "the primary at 127.0.0.1:1" in str(caught.value)
    assert ADDRESS not in str(caught.value)
    assert isinstance(caught.value, AddrmeshError)


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError, EOFError, OSError])
def test_no_error_of_a_socket_leaks(error: type[Exception]) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"), connection().translated():
        raise error(ADDRESS)


@pytest.mark.parametrize("error", [theirs.TimeoutError, TimeoutError])
def test_a_server_that_hangs_is_told_from_one_that_is_gone(error: type[Exception]) -> None:
    with pytest.raises(Hung, match="does not answer"), connection().translated():
        raise error


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError), connection().translated():
        raise KeyError


def test_a_password_is_in_no_text() -> None:
    endpoint = Endpoint("127.0.0.1", 1, "addrmesh", "hunter2")
    assert "hunter2" not in repr(endpoint) + str(endpoint) + Connection("it", endpoint).name


def connection() -> Connection:
    return Connection("the primary", Endpoint("127.0.0.1", 1))
