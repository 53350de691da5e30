"""`addrmesh bulk`: a file of addresses to a file of results, as fast as the model, in constant memory."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from addrmesh.cli import model
from addrmesh.cli.exits import ExitCode
from addrmesh.cli.records import Input, Problem, Record, problem
from addrmesh.cli.results import Output, Progress, open_output
from addrmesh.cli.validate import Hint, Lang, MinGranularity, Style, options_of, request_of
from addrmesh.errors import AddrmeshError, ConfigError, InvalidText, RequestError, TextTooLong

if TYPE_CHECKING:
    from addrmesh.address.questions import Question
    from addrmesh.inference.engine import Engine
    from addrmesh.inference.release import Release

    Score = Callable[[Sequence[Any]], Sequence[Question]]

app = typer.Typer(help="Parse, validate or compare files of addresses.", no_args_is_help=True)

CHUNK_LINES = 128
"""Results are written this many at a time: enough to keep the model busy, little to repeat after a crash."""

Source = Annotated[str, typer.Argument(metavar="IN", help="CSV with a header, or NDJSON; - is stdin.")]
OutputPath = Annotated[
    str, typer.Option("--output", "-o", metavar="OUT", help="NDJSON file for the results; - is stdout.")
]
Column = Annotated[
    str | None,
    typer.Option(help="Column, or NDJSON key, with the address; needed when the header does not tell."),
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of IN, such as gb18030.", show_default="utf-8")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on after the last complete line of OUT.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Write over OUT; with --resume, go on although it was made from something else."),
]
ReleasePath = Annotated[
    Path | None, typer.Option(help="Directory of a release instead of the one that comes with addrmesh.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document on stdout.")]


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A line of the output with an answer."""

    id: msgspec.Raw
    line: int
    status: int
    result: Any


class NotAnswered(msgspec.Struct, frozen=True, gc=False):
    """A line of the output without an answer, and why."""

    id: msgspec.Raw
    line: int
    status: int
    problem: Problem


@dataclass(frozen=True)
class Task:
    """What is asked of each line."""

    done: str
    """What has been done to it then, in a word."""
    question: "Callable[[Record, int], Question]"
    """Make a record and a limit of code points a question; InvalidText or TextTooLong if it is none."""
    depends_on: str = ""
    """Everything but release and input that the answers depend on."""
    pairs: bool = False
    scorer: "Release | None" = None
    """What scores the pairs; None for the built-in scorer."""


@dataclass
class Summary:
    """What a run did."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Lines that an earlier run had done."""
    last_line: int = 0


@app.callback()
def bulk() -> None:
    """
    Parse, validate or compare files of addresses.

    Example: addrmesh bulk parse orders.csv -o parsed.ndjson
    """


@app.command("parse")
def parse_file(
    source: Source,
    output: OutputPath = "-",
    column: Column = None,
    encoding: Encoding = None,
    resume: Resume = False,
    force: Force = False,
    release: ReleasePath = None,
    device: model.Device = "auto",
    as_json: AsJson = False,
) -> None:
    """
    Parse every address of a file; a line that cannot be parsed becomes a problem in its place.

    Example: addrmesh bulk parse orders.csv -o parsed.ndjson --column 收货地址 --resume
    """
    opened = Opened(source, output, column, encoding, resume, force, release, device, as_json)
    opened.work(PARSE)


@app.command("validate")
def validate_file(
    source: Source,
    output: OutputPath = "-",
    column: Column = None,
    encoding: Encoding = None,
    hint: Hint = None,
    style: Style = "mca",
    min_granularity: MinGranularity = "PREMISE",
    language: Lang = "zh-CN",
    resume: Resume = False,
    force: Force = False,
    release: ReleasePath = None,
    device: model.Device = "auto",
    as_json: AsJson = False,
) -> None:
    """
    Judge every address of a file; a bad address is FIX, a line that is none becomes a problem in its place.

    Example: addrmesh bulk validate orders.csv -o judged.ndjson --column 收货地址 --resume
    """
    from addrmesh.address.divisions import version
    from addrmesh.address.questions import Validation

    options = options_of(hint, style, min_granularity, language)
    task = Task(
        "validated",
        lambda record, limit: Validation.of(request_of(record.address, *options), limit),
        f"{version()} {hint} {style} {min_granularity} {language}",
    )
    Opened(source, output, column, encoding, resume, force, release, device, as_json).work(task)


@app.command("match")
def match_file(
    source: Source,
    output: OutputPath = "-",
    encoding: Encoding = None,
    resume: Resume = False,
    force: Force = False,
    release: model.MatchReleasePath = None,
    device: model.Device = "auto",
    as_json: AsJson = False,
) -> None:
    """
    Compare the addresses `a` and `b` of every line of a file; the answer is `result.label`.

    Example: addrmesh bulk match pairs.ndjson -o compared.ndjson
    """
    from addrmesh.address.divisions import version
    from addrmesh.address.match_model import MODEL_VERSION
    from addrmesh.address.questions import Matching

    tagger, scorer = model.for_matching(release)
    task = Task(
        "compared",
        lambda record, limit: Matching.of(record.address, record.other, limit),
        f"{version()} {MODEL_VERSION}{f' {scorer.id}' if scorer else ''}",
        pairs=True,
        scorer=scorer,
    )
    Opened(source, output, None, encoding, resume, force, tagger.path, device, as_json).work(task)


def _parsing(record: Record, limit: int) -> "Question":
    from addrmesh.address.questions import Parsing

    return Parsing.of(record.address, limit)


PARSE = Task("parsed", _parsing)


@dataclass(frozen=True)
class Opened:
    """The command line of a run."""

    source: str
    output: str
    column: str | None
    encoding: str | None
    resume: bool
    force: bool
    release: Path | None
    device: str
    as_json: bool

    def work(self, task: Task) -> None:
        """Do it, and say what was done."""
        to_stdout = self.output == "-"
        if to_stdout and (self.as_json or self.resume):
            raise ConfigError(f"{'--json' if self.as_json else '--resume'} needs a file for the results: -o OUT")
        self._spare_the_input()
        opened = model.find_release(self.release)
        with closing(Input(self.source, column=self.column, encoding=self.encoding, pairs=task.pairs)) as records:
            asked = f"{task.done} {task.depends_on}" if task.depends_on else "parse"
            progress = Progress(1, opened.id, records.fingerprint, self.column, records.encoding, asked)
            with closing(
                Output(sys.stdout.fileno(), owned=False)
                if to_stdout
                else open_output(Path(self.output), progress, resume=self.resume, force=self.force)
            ) as results:
                started = time.monotonic()
                summary = Summary()
                try:
                    with (
                        closing(model.load(opened, self.device)) as engine,
                        model.scoring(task.scorer) as score,
                        _progress_bar(records, task) as show,
                    ):
                        run(records.records(), results, engine, summary, show, task, score)
                except BrokenPipeError:
                    raise
                except (KeyboardInterrupt, OSError, AddrmeshError) as error:
                    _explain_stop(error, summary, self.output)
                    raise typer.Exit(
                        ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAILED
                    ) from error
        elapsed_s = time.monotonic() - started
        _print_summary(summary, elapsed_s, opened, task, self.output, as_json=self.as_json)

    def _spare_the_input(self) -> None:
        source, output = Path(self.source), Path(self.output)
        if "-" in (self.source, self.output) or not (source.exists() and output.exists()):
            return
        if source.samefile(output):
            raise ConfigError(f"{output}: is the input; choose another name for the results")


def run(
    records: Iterator[Record],
    output: Output,
    engine: "Engine",
    summary: Summary,
    show: Callable[[Summary], None] = lambda _: None,
    task: Task = PARSE,
    score: "Score" = list,
) -> None:
    """
    Answer the records in order and write each chunk when it is complete.

    Args:
        records: What `output` has answered before is passed over.
        output: Receives whole lines only.
        engine: Must be of the release that made what `output` holds.
        summary: Counts what has been written; right also when this raises.
        show: Called after each chunk.
        task: What is asked of each record.
        score: As `model.scoring` gives it.
    """
    encode = msgspec.json.Encoder().encode_lines
    limit = engine.release.manifest.limits.max_code_points
    for record in records:
        if record.line > output.done_line:
            break
        summary.skipped += 1
    else:
        return
    chunk = [record, *islice(records, CHUNK_LINES - 1)]
    while chunk:
        answers = _answer(chunk, engine, limit, task, score)
        output.write(encode(answers))
        failed = sum(type(answer) is NotAnswered for answer in answers)
        summary.failed += failed
        summary.ok += len(answers) - failed
        summary.last_line = chunk[-1].line
        show(summary)
        chunk = list(islice(records, CHUNK_LINES))


def _answer(
    chunk: list[Record],
    engine: "Engine",
    limit: int,
    task: Task,
    score: "Score",
) -> list[Answered | NotAnswered]:
    answers: list[Answered | NotAnswered | None] = []
    waiting: list[tuple[int, Record, Question]] = []
    texts: list[str] = []
    for at, record in enumerate(chunk):
        trouble = record.problem
        if trouble is None:
            try:
                question = task.question(record, limit)
            except RequestError as error:
                trouble = _as_problem(error)
            else:
                waiting.append((at, record, question))
                texts += question.texts
                answers.append(None)
                continue
        answers.append(NotAnswered(record.id, record.line, trouble.status, trouble))
    found = iter(engine.predict(texts) if texts else ())
    for (at, record, _), question in zip(waiting, score([question for *_, question in waiting]), strict=True):
        result = question.answer([next(found) for _ in question.texts])
        answers[at] = Answered(record.id, record.line, 200, result)
    return answers  # type: ignore[return-value] # every None has been replaced


def _as_problem(error: RequestError) -> Problem:
    match error:
        case TextTooLong():
            return problem(413, "input-too-long", "The input is longer than the limit", str(error))
        case InvalidText():
            return problem(422, "invalid-text", "The address is empty or blank", str(error))
        case _:
            raise AssertionError(f"{type(error).__name__} has no problem document; this is a bug") from error


@contextmanager
def _progress_bar(records: Input, task: Task) -> Iterator[Callable[[Summary], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = [BarColumn(), TaskProgressColumn()] if records.size_bytes else []
    bar = Progress(
        *columns,
        TextColumn(f"{{task.fields[done]:,}} {_things(task)}  {{task.fields[rate]:,.0f}}/s"),
        *([TimeRemainingColumn()] if records.size_bytes else []),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
    bar_task = bar.add_task("bulk", total=records.size_bytes, done=0, rate=0.0)
    started = shown = time.monotonic()

    def show(summary: Summary) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 0.2:
            return
        shown = now
        done = summary.ok + summary.failed
        read = records.read_bytes if records.size_bytes else None
        bar.update(bar_task, completed=read, done=done, rate=done / (now - started), refresh=True)

    with bar:
        yield show


def _things(task: Task) -> str:
    return "pairs" if task.pairs else "addresses"


def _explain_stop(error: BaseException, summary: Summary, output: str) -> None:
    match error:
        case KeyboardInterrupt():
            why = "interrupted"
        case OSError():
            why = f"error: {error.strerror or error}"
        case _:
            why = f"error: {error}"
    kept = f"{summary.ok + summary.failed:,} results were written"
    how = "" if output == "-" else f" and are kept in {output}; go on with --resume"
    sys.stderr.write(f"{why}; {kept}{how}\n")


def _print_summary(
    summary: Summary, elapsed_s: float, release: "Release", task: Task, output: str, *, as_json: bool
) -> None:
    lines = summary.ok + summary.failed
    rate = lines / elapsed_s if elapsed_s else 0.0
    before = f", {summary.skipped:,} were done before" if summary.skipped else ""
    scorer = f", scored by {task.scorer.id}" if task.scorer else ""
    place = "" if output == "-" else f"; results in {output}"
    sys.stderr.write(
        f"{lines:,} {_things(task)}: {summary.ok:,} {task.done}, {summary.failed:,} not{before}; "
        f"{elapsed_s:.1f} s, {rate:,.0f}/s; release {release.id}{scorer}{place}\n"
    )
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(
            release=release.id,
            output=output,
            ok=summary.ok,
            failed=summary.failed,
            skipped=summary.skipped,
            elapsed_s=round(elapsed_s, 3),
            addresses_per_s=round(rate, 1),
        )
