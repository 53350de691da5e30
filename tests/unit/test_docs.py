import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path], "run: python docs/generate.py"


def test_every_command_has_an_example() -> None:
    page = PAGES[ROOT / "docs/reference/cli.md"]
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    for command in headings:
        section = page.partition(f"## {command}\n")[2].partition("\n## ")[0]
        assert f"```\n{command}" in section, f"{command} has no example of itself"


def test_the_example_settings_are_the_defaults() -> None:
    from addrmesh.settings import NodeSettings, load

    assert load(ROOT / "config/node.example.yaml", environ={}).settings == NodeSettings()
