"""Files reach a running engine whole, once, and can be taken back."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.edge.files import RenderedFile
from addrmesh.edge.install import install, roll_back


def content(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


def test_installing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    files = [RenderedFile("a", b"1"), RenderedFile("b", b"2")]
    assert install(files, tmp_path / "edge") == ["a", "b"]
    before = (tmp_path / "edge" / "a").stat()
    assert install(files, tmp_path / "edge") == []
    assert (tmp_path / "edge" / "a").stat() == before


def test_only_what_differs_is_replaced_and_by_another_file_not_in_place(tmp_path: Path) -> None:
    install([RenderedFile("a", b"1"), RenderedFile("b", b"2")], tmp_path)
    a, b = (tmp_path / "a").stat().st_ino, (tmp_path / "b").stat().st_ino
    with (tmp_path / "a").open("rb") as reader:
        assert install([RenderedFile("a", b"3"), RenderedFile("b", b"2")], tmp_path) == ["a"]
        assert reader.read() == b"1"
    assert (tmp_path / "a").stat().st_ino != a
    assert (tmp_path / "b").stat().st_ino == b
    assert content(tmp_path) == {"a": b"3", "b": b"2"}


def test_the_last_installation_can_be_taken_back(tmp_path: Path) -> None:
    install([RenderedFile("a", b"1"), RenderedFile("b", b"2")], tmp_path)
    assert roll_back(tmp_path) == []
    install([RenderedFile("a", b"3"), RenderedFile("b", b"2")], tmp_path)
    assert roll_back(tmp_path) == ["a"]
    assert content(tmp_path) == {"a": b"1", "b": b"2"}


@settings(deadline=None)
@given(a=st.binary(), b=st.binary())
def test_digests_are_equal_exactly_when_contents_are(a: bytes, b: bytes) -> None:
    assert (RenderedFile("f", a).sha256 == RenderedFile("f", b).sha256) == (a == b)
