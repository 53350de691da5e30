"""
A correction made in one region is what the nodes of the other one answer: within a second, and after a cut.

Two regions on real redis-servers that replicate over links a test can cut; a node in each, over its own region's store.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from addrmesh.node.corrections import PREFIX, Correction, digest, encode
from addrmesh.settings import NodeSettings, Server, Store
from support.engines import DigitsEngine, release
from support.live import LiveNode
from support.redis import Regions, eventually, regions

EFFECT_S = 1.0
REGIONS = ("eu", "cn")
TEXTS = ("秘密路口1号", "秘密路口2号", "秘密路口3号")


class Fleet:
    """The regions' stores, and what their nodes answer."""

    def __init__(self, stores: Regions, directory: Path) -> None:
        self.stores = stores
        self.nodes = {region: self._node(region, directory / region) for region in REGIONS}
        self._http = httpx.AsyncClient(timeout=5)

    def _node(self, region: str, directory: Path) -> LiveNode:
        directory.mkdir(parents=True)
        urls = {
            origin: f"redis://127.0.0.1:{server.port}"
            for (here, origin), server in self.stores.replicas.items()
            if here == region
        }
        store = Store(primary=f"redis://127.0.0.1:{self.stores.primaries[region].port}", replicas=urls)
        settings = NodeSettings(server=Server(port=0, region=region), store=store)
        return LiveNode(DigitsEngine(release(directory)), settings, "httptools")

    async def start(self) -> None:
        # In threads: this one's loop moves what the links between the regions carry.
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes.values()))

    async def stop(self) -> None:
        await self._http.aclose()
        await asyncio.gather(*(asyncio.to_thread(node.stop) for node in self.nodes.values()))

    async def correct(self, region: str, text: str, kind: str) -> None:
        """Approve that the whole of a text is of one kind; kind "" takes it back."""
        components = ((kind, 0, len(text)),) if kind else ()
        correction = Correction(datetime.now(UTC), "op", components=components, length=len(text))
        await self.stores.stores[region].put(PREFIX + digest(text), encode(correction))

    async def types(self, region: str, text: str) -> tuple[list[str], bool]:
        """What a region's node answers, and whether it says that it is corrected."""
        reply = (await self._http.post(f"{self.nodes[region].url}/v1/address:parse", json={"address": text})).json()
        return [c["type"] for c in reply["result"]["components"]], reply["service"]["corrected"]

    async def serve(self, text: str, kind: str, within_s: float, *where: str) -> float:
        """Return how long it took until the nodes of the regions `where` answer with a correction."""

        async def all_do() -> bool:
            return [await self.types(region, text) for region in where] == [([kind], True)] * len(where)

        return await eventually(all_do, f"{' and '.join(where)} answer {kind}", within_s)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with regions(tmp_path, *REGIONS) as stores:
        fleet = Fleet(stores, tmp_path / "nodes")
        try:
            await fleet.start()
            yield fleet
        finally:
            await fleet.stop()


@pytest.mark.parametrize(("here", "there"), [REGIONS, REGIONS[::-1]])
async def test_a_correction_made_here_is_served_there_within_a_second_until_it_is_taken_back(fleet, here, there):
    before = await fleet.types(there, TEXTS[0])
    assert before[1] is False
    await fleet.correct(here, TEXTS[0], "road")
    await fleet.serve(TEXTS[0], "road", EFFECT_S, there)
    await fleet.correct(here, TEXTS[0], "")

    async def is_as_before() -> bool:
        return await fleet.types(there, TEXTS[0]) == before

    await eventually(is_as_before, "it is taken back there", EFFECT_S)


async def test_a_correction_made_while_cut_off_is_served_here_at_once_and_there_within_a_second_of_healing(fleet):
    ours, theirs, both = TEXTS
    with fleet.stores.dropped(*REGIONS):
        await fleet.correct("eu", ours, "road")
        await fleet.correct("cn", theirs, "poi")
        await fleet.correct("eu", both, "road")
        await fleet.correct("cn", both, "poi")  # the later one
        await fleet.serve(ours, "road", EFFECT_S, "eu")
        await fleet.serve(theirs, "poi", EFFECT_S, "cn")
        await fleet.serve(both, "road", EFFECT_S, "eu")
        assert [(await fleet.types(*there))[1] for there in (("cn", ours), ("eu", theirs))] == [False, False]
    healed = asyncio.get_running_loop().time()
    for text, kind in ((ours, "road"), (theirs, "poi"), (both, "poi")):
        await fleet.serve(text, kind, EFFECT_S, *REGIONS)
    assert asyncio.get_running_loop().time() - healed < EFFECT_S


async def test_a_correction_made_in_a_long_cut_is_served_there_once_the_replicas_are_back(fleet):
    with fleet.stores.dropped(*REGIONS):
        for here, origin in (REGIONS, REGIONS[::-1]):

            async def is_down(here: str = here, origin: str = origin) -> bool:
                status = await fleet.stores.stores[here].status()
                return not next(o.link_up for o in status.origins if o.region == origin)

            await eventually(is_down, f"{here} has given up its link to {origin}")
        await fleet.correct("eu", TEXTS[0], "road")
        await fleet.serve(TEXTS[0], "road", EFFECT_S, "eu")
    await fleet.stores.linked("cn", "eu")
    await fleet.serve(TEXTS[0], "road", EFFECT_S, "cn")
