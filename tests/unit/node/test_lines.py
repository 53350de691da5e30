import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.node.asgi import ClientDisconnected
from addrmesh.node.lines import CHUNK_LINES, LineReader
from addrmesh.node.problems import BadRequest
from addrmesh.settings import Limits

LIMITS = Limits(line_bytes=10, bulk_lines=1000, bulk_bytes=1000, body_timeout_s=0.02)


async def read(pieces, limits=LIMITS, start=1, *, then_pause=False, then_go=False):
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if then_go:
        messages.append({"type": "http.disconnect"})
    elif messages and not then_pause:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive():
        message = next(waiting, None)
        return message if message is not None else await asyncio.Event().wait()

    reader = LineReader(receive, limits, start)
    lines, error = [], None
    try:
        async for chunk in reader.chunks():
            assert 0 < len(chunk) <= CHUNK_LINES
            assert chunk[-1].number < reader.next_line
            lines += chunk
    except (BadRequest, ClientDisconnected) as found:
        error = found
    return lines, reader.next_line, error


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.binary(max_size=14).filter(lambda line: b"\n" not in line), max_size=20),
    st.booleans(),
    st.lists(st.integers(0, 999), max_size=12),
    st.integers(1, 25),
)
def test_lines_do_not_depend_on_how_the_body_was_cut(lines, newline_at_end, places, start):
    body = b"\n".join(lines) + (b"\n" if newline_at_end else b"")
    found, next_line, error = asyncio.run(read(cut(body, places), start=start))
    expected = body.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert error is None
    assert next_line == len(expected) + 1
    assert [(line.number, line.data) for line in found] == [
        (number, None if len(line) > LIMITS.line_bytes else line.strip())
        for number, line in enumerate(expected, 1)
        if number >= start and (len(line) > LIMITS.line_bytes or line.strip())
    ]


async def test_a_line_limit_ends_the_stream_after_the_lines_within_it():
    lines, next_line, error = await read([b"a\n" * 7], LIMITS.model_copy(update={"bulk_lines": 3}))
    assert ([line.number for line in lines], next_line) == ([1, 2, 3], 4)
    assert error.code == "input-too-long"


async def test_a_byte_limit_ends_the_stream():
    _, _, error = await read([b"a\n" * 300, b"a\n" * 300, b"a\n" * 300])
    assert error.code == "input-too-long"


async def test_a_sender_that_pauses_for_too_long_is_told():
    lines, next_line, error = await read([b"a\nb\nc"], then_pause=True)
    assert ([line.number for line in lines], next_line, error.code) == ([1, 2], 3, "request-timeout")


async def test_a_sender_that_goes_away_ends_the_reading():
    lines, _, error = await read([b"a\nb"], then_go=True)
    assert len(lines) == 1
    assert isinstance(error, ClientDisconnected)
