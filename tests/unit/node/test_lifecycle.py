import asyncio

import pytest

from addrmesh.errors import ConfigError, NotReady
from addrmesh.inference.release import Probe
from addrmesh.node import circuit
from addrmesh.node.app import create_app
from addrmesh.node.lifecycle import Draining, Lifecycle, ProbeFailed, State, check_probes
from addrmesh.node.node import Node
from addrmesh.node.wire import MatchRequest
from addrmesh.settings import Batching, NodeSettings, Server
from support.engines import DigitsEngine, PairEngine, digits, pair_release, release
from support.waiting import running

FOREVER = float("inf")


def test_a_node_goes_forward_only():
    lifecycle = Lifecycle()
    for state in (State.READY, State.DRAINING, State.STOPPED):
        lifecycle.move_to(state)
    with pytest.raises(AssertionError, match="this is a bug"):
        lifecycle.move_to(State.READY)


@pytest.mark.parametrize(
    ("states", "error", "status"),
    [
        ([], NotReady, "starting"),
        ([State.READY], None, "healthy"),
        ([State.READY, State.DRAINING], Draining, "draining"),
        ([State.DRAINING, State.STOPPED], Draining, "unhealthy"),
    ],
)
def test_only_a_ready_node_takes_requests(states, error, status):
    lifecycle = Lifecycle()
    for state in states:
        lifecycle.move_to(state)
    assert lifecycle.status == status
    if error is None:
        lifecycle.require_ready()
    else:
        with pytest.raises(error):
            lifecycle.require_ready()


async def test_a_probe_that_fails_is_named_by_number_and_labels_never_by_text():
    async def predict(text):
        return digits(text)

    kind = digits("2")[0].type
    probes = [Probe("路1", [(digits("1")[0].type, 1, 2)]), Probe("秘密路2", [("prov", 0, 3)])]
    with pytest.raises(ProbeFailed) as failed:
        await check_probes(probes, predict)
    assert "probe 1 of 2 failed" in str(failed.value)
    assert f"expected prov[0:3], found {kind}[3:4]" in str(failed.value)
    assert "秘密" not in str(failed.value)


async def test_a_node_whose_model_fails_a_probe_never_becomes_ready(tmp_path):
    engine = DigitsEngine(release(tmp_path, probes=[("秘密路2", ())]))
    node = Node(NodeSettings(), lambda: engine)
    await node.start()
    assert isinstance(node.failed, ProbeFailed)
    assert node.lifecycle.status == "unhealthy"
    with pytest.raises(NotReady, match="probe 0 of 1 failed"):
        node.pipeline()
    await node.stop()
    assert engine.closed


async def test_a_node_that_cannot_load_says_so_without_details_of_the_machine():
    def load():
        raise OSError("/secret/path")

    node = Node(NodeSettings(), load)
    await node.start()
    assert isinstance(node.failed, OSError)
    assert node.lifecycle.failure == "the release cannot be loaded"
    await node.stop()


async def test_a_node_told_to_use_a_gpu_for_a_model_of_the_cpu_does_not_start():
    node = create_app(NodeSettings(engine={"device": "cuda:1"})).node
    await node.start()
    assert isinstance(node.failed, ConfigError)
    assert str(node.failed).startswith("engine.device: found cuda:1, but release addrmesh-small")
    await node.stop()


@pytest.mark.parametrize(("quick", "given_ms", "wait_s"), [(True, None, 0.02), (False, None, 0.3), (False, 5.0, 0.005)])
async def test_a_slow_model_has_a_longer_queue_unless_the_settings_say_otherwise(tmp_path, quick, given_ms, wait_s):
    engine = DigitsEngine(release(tmp_path))
    engine.quick = quick
    node = Node(NodeSettings(batching=Batching(max_wait_ms=given_ms)), lambda: engine)
    await node.start()
    assert node.pipeline().tagger.batcher.max_wait_s == wait_s
    await node.stop()


async def test_a_node_stops_in_time_although_an_engine_that_was_left_hangs_in_its_probe_set(tmp_path, monkeypatch):
    monkeypatch.setattr(circuit, "FIRST_PAUSE_S", 0.0)
    (tmp_path / "align").mkdir()
    engine, scorer = DigitsEngine(release(tmp_path)), PairEngine(pair_release(tmp_path / "align"))
    node = Node(NodeSettings(server=Server(drain_timeout_s=0.1)), lambda: engine, lambda: scorer)
    await node.start()
    scorer.fails = lambda _: RuntimeError()
    for _ in range(circuit.FAILURES):
        await node.pipeline().ask(MatchRequest("路1", "路2"), deadline=FOREVER)
    scorer.entered.clear()
    scorer.gate.clear()
    await running(scorer)
    async with asyncio.timeout(5):
        await node.stop()
    scorer.gate.set()
    assert (node.lifecycle.state, engine.closed) == (State.STOPPED, True)


async def test_a_node_told_to_stop_while_it_loads_does_not_become_ready(tmp_path):
    engine = DigitsEngine(release(tmp_path))
    node = Node(NodeSettings(), lambda: engine)
    node.drain()
    await node.start()
    assert node.lifecycle.state is State.DRAINING
    await node.stop()
    assert (node.lifecycle.state, engine.closed) == (State.STOPPED, True)
