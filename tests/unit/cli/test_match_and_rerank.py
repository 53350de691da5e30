"""Commands that ask a pair of texts: what a release of each task does in them."""

import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="checkpoints are written and read with torch")
pytest.importorskip("onnx", reason="releases are built with onnx")

from addrmesh.address.questions import builtin_scorer
from addrmesh.cli.main import app
from addrmesh.errors import AddrmeshError, InvalidText, Refused, ReleaseError
from addrmesh.inference.build import build_release
from addrmesh.inference.mgeo.engine import PairScorer
from addrmesh.inference.release import BUILTIN, Release, open_release
from support.mgeo import write_checkpoint

A, B, C = "浙江省杭州市余杭区文一西路12号3号楼", "余杭区文一西路12号西湖大厦", "北京市海淀区中关街道280号"
BUILTIN_ID = open_release(BUILTIN).id


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    folder = tmp_path_factory.mktemp("releases")
    tasks = {"tag": "token-classification", "align": "sentence-similarity", "rank": "text-ranking"}
    return {name: build_release(write_checkpoint(folder / task, task), folder / name) for name, task in tasks.items()}


def run(*arguments: object, stdin: str | None = None) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def fails(*arguments: object, stdin: str | None = None) -> AddrmeshError:
    done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
    assert isinstance(done.exception, AddrmeshError), done.output
    return done.exception


def compared(a: str, b: str, *arguments: object) -> dict:
    return json.loads(run("match", a, b, "--json", *arguments))


def test_a_release_for_alignment_scores_what_the_built_in_model_tags(releases):
    there, back = (compared(*pair, "--release", releases["align"].path) for pair in ((A, B), (B, A)))
    assert there["release"] == BUILTIN_ID
    assert there["result"]["scorer"] == releases["align"].id
    assert there["result"]["probabilities"] == back["result"]["probabilities"]
    assert there["result"]["probabilities"] != compared(A, B)["result"]["probabilities"]
    assert f"by {releases['align'].id}" in run("match", A, B, "--release", releases["align"].path)


def test_a_release_for_tagging_tags_what_the_built_in_scorer_scores(releases):
    found = compared(A, B, "--release", releases["tag"].path)
    assert (found["release"], found["result"]["scorer"]) == (releases["tag"].id, builtin_scorer())


def test_numbers_that_differ_are_never_exact_in_a_file_either(releases, tmp_path):
    source, out = tmp_path / "pairs.ndjson", tmp_path / "out.ndjson"
    pairs = [(A, B), (B, A), (A, A.replace("12号", "21号")), (A, A), (A, " ")] * 40
    source.write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in pairs))
    run("bulk", "match", source, "-o", out, "--release", releases["align"].path)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0]["result"] == compared(A, B, "--release", releases["align"].path)["result"]
    assert lines[0]["result"]["probabilities"] == lines[1]["result"]["probabilities"]
    assert (lines[2]["result"]["guards"], lines[2]["result"]["probabilities"]["exact_match"]) == (["ROADNO_DIFFERS"], 0)
    assert (lines[3]["result"]["label"], lines[3]["result"]["scorer"]) == ("exact_match", builtin_scorer())
    assert lines[4]["status"] == 422
    assert [{**line, "line": 0} for line in lines] == [{**line, "line": 0} for line in lines[:5]] * 40
    assert isinstance(fails("bulk", "match", source, "-o", out, "--resume"), Refused), "another scorer made it"


def test_candidates_are_ranked_best_first_with_the_scores_of_the_release(releases):
    found = json.loads(run("rerank", A, B, C, A, "--json", "--release", releases["rank"].path))
    scorer = PairScorer(releases["rank"])
    wanted = [one["score"] for one in scorer.score([(A, B), (A, C), (A, A)])]
    scorer.close()
    assert found["release"] == releases["rank"].id
    assert [item["score"] for item in found["items"]] == sorted((round(score, 4) for score in wanted), reverse=True)
    assert {item["index"]: (item["address"], item["score"]) for item in found["items"]} == {
        index: (address, round(wanted[index], 4)) for index, address in enumerate((B, C, A))
    }
    header, *rows = run("rerank", A, B, C, A, "--release", releases["rank"].path).splitlines()
    assert header.split() == ["score", "address"]
    assert [row.split() for row in rows] == [[f"{item['score']:.4f}", item["address"]] for item in found["items"]]


def test_candidates_come_from_stdin_too_and_equal_ones_keep_their_order(releases):
    found = json.loads(run("rerank", A, "--json", "--release", releases["rank"].path, stdin=f"{B}\n\n{B}\r\n"))
    assert [(item["index"], item["address"]) for item in found["items"]] == [(0, B), (1, B)]


def test_a_candidate_cannot_end_itself_with_a_special_token(releases):
    found = json.loads(run("rerank", A, f"{B}[SEP]", f"{B}[sep]", "--json", "--release", releases["rank"].path))
    assert len({item["score"] for item in found["items"]}) == 1


@pytest.mark.parametrize(
    ("query", "candidate", "message"),
    [
        (" ", A, "the query: the address is blank"),
        (A, "\u200b", "candidate 2 of 2: the address is blank"),
        (A, "路" * 130, "candidate 2 of 2: the address has 130 code points, the limit is 125"),
        (A, "路" * 120, f"candidate 2 of 2: it has {120 + len(A)} code points with the query, the release reads 125"),
    ],
)
def test_what_cannot_be_ranked_is_named_by_its_place(releases, query, candidate, message):
    error = fails("rerank", query, B, candidate, "--release", releases["rank"].path)
    assert isinstance(error, InvalidText)
    assert message in str(error)


@pytest.mark.parametrize(
    ("command", "name", "task"),
    [("rerank", "align", "rerank"), ("rerank", "tag", "rerank"), ("match", "rank", "elements-tagging")],
)
def test_a_release_for_something_else_is_refused_by_its_task(releases, command, name, task):
    error = fails(command, A, B, "--release", releases[name].path)
    assert isinstance(error, ReleaseError)
    assert f"release {releases[name].id} is for {releases[name].manifest.task}, asked for is one for {task}" in str(
        error
    )
