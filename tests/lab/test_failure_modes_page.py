import ast
import re
from pathlib import Path

HERE = Path(__file__)
PAGE = HERE.parents[2] / "docs/explanation/failure-modes.md"


def test_the_page_on_failure_modes_names_every_drill_and_no_other() -> None:
    drills = {
        node.name
        for file in HERE.parent.glob("test_*.py")
        if file != HERE
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    text = PAGE.read_text("utf-8")
    modes, _, measured = text.partition("\n## Measured\n")
    assert measured, "the page has no section Measured"
    assert set(re.findall(r"`(test_\w+)`", modes)) == drills
    assert set(re.findall(r"^\| (test_\w+) \|", measured, re.MULTILINE)) <= drills
