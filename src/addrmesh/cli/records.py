"""
The input of `addrmesh bulk`: CSV or NDJSON, read as a stream, one `Record` per address, or per pair of addresses.

A line that cannot be read is a record with a problem, and reading goes on. Only what makes the whole input
unusable (its encoding, no column with addresses) is a ConfigError, raised before the first record.
"""

import csv
import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from addrmesh.errors import ConfigError

ADDRESS_COLUMNS = frozenset(
    ("address", "addr", "full_address", "full address", "地址", "详细地址", "收货地址", "收件地址",
     "收件人地址", "完整地址", "联系地址", "家庭住址", "家庭地址", "住址")
)  # fmt: skip
"""Header names that mean "the address is here"."""

ID_COLUMNS = frozenset(("id", "编号", "订单号"))
PAIR = ("a", "b")
"""Columns, or NDJSON keys, of two addresses that are to be compared."""

HEAD_BYTES = 1 << 16
"""How much of the input is looked at to find out what it is."""
MAX_LINE_BYTES = 1 << 20
"""An NDJSON line longer than this is a problem of that line and is not kept in memory."""
NOT_AN_ID = msgspec.Raw(b"null")


class Problem(msgspec.Struct, frozen=True):
    """Why an address has no result, in the form of an HTTP problem document. It never repeats the address."""

    type: str
    title: str
    status: int
    code: str
    detail: str


def problem(status: int, code: str, title: str, detail: str) -> Problem:
    """Return the problem with this stable `code`."""
    return Problem(f"/problems/{code}", title, status, code, detail)


class Record(NamedTuple):
    """One address of the input, or why it is none."""

    line: int
    """Line of the input on which it starts, from 1."""
    id: msgspec.Raw
    """The caller's own id as JSON; `null` when there is none."""
    address: str
    problem: Problem | None = None
    other: str = ""
    """The second address, where pairs are read."""


class Input:
    """An opened input whose format is known."""

    def __init__(
        self, path: str, *, column: str | None = None, encoding: str | None = None, pairs: bool = False
    ) -> None:
        """
        Open `path` (`-` is stdin) and look at its beginning.

        Args:
            path: Of the file.
            column: Which one holds the address, when the header does not tell.
            encoding: Of the file, UTF-8 if None.
            pairs: Whether to read two addresses from each line, `PAIR`.

        Raises:
            ConfigError: It cannot be read, is not in `encoding`, or its addresses cannot be found.
        """
        self._path, self._columns = path, PAIR if pairs else (column,)
        try:
            self._raw = io.FileIO(sys.stdin.fileno(), closefd=False) if path == "-" else io.FileIO(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        self._buffered = io.BufferedReader(self._raw, HEAD_BYTES)
        self._open: io.IOBase = self._buffered
        try:
            self._look(encoding)
        except BaseException:
            self.close()
            raise

    def _look(self, encoding: str | None) -> None:
        try:
            head = self._buffered.peek(HEAD_BYTES)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({error.strerror})") from error
        self.encoding = _encoding(self._path, head, encoding)
        self.fingerprint = hashlib.sha256(head[:4096].split(b"\n", 1)[0]).hexdigest()
        """Digest of the first line: a resumed run must have the same."""
        format_ = _format(self._path, head.decode(self.encoding, "replace").removeprefix("\ufeff"))
        self._records = self._csv() if format_ == "csv" else self._ndjson()

    @property
    def size_bytes(self) -> int | None:
        """Size of the input, where it is a plain file."""
        try:
            return Path(self._path).stat().st_size if self._path != "-" else None
        except OSError:
            return None

    @property
    def read_bytes(self) -> int:
        """How much has been read, in bytes; a little ahead of the last record."""
        return self._raw.tell()

    def records(self) -> Iterator[Record]:
        """Yield the records in order. Blank lines are passed over."""
        return self._records

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def _ndjson(self) -> Iterator[Record]:
        names = [name or "address" for name in self._columns]
        line_type = msgspec.defstruct(
            "Line",
            [*((key, str) for key in PAIR[: len(names)]), ("id", msgspec.Raw, NOT_AN_ID)],
            rename=dict(zip(PAIR, names, strict=False)),
            gc=False,
        )
        return self._ndjson_records(msgspec.json.Decoder(line_type).decode)

    def _ndjson_records(self, decode) -> Iterator[Record]:  # type: ignore[no-untyped-def]
        utf8 = self.encoding in ("utf-8", "utf-8-sig")
        for number, line in enumerate(_lines(self._buffered), 1):
            if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]  # noqa: PLW2901
            if not line or line.isspace():
                continue
            if len(line) > MAX_LINE_BYTES:
                detail = f"the line is longer than {MAX_LINE_BYTES} bytes"
                yield Record(number, NOT_AN_ID, "", problem(413, "input-too-long", "Line too long", detail))
                continue
            try:
                parsed = decode(line if utf8 else line.decode(self.encoding))
            except msgspec.ValidationError as error:
                yield Record(number, _id(line), "", problem(422, "validation-failed", "Wrong shape", str(error)))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield Record(number, NOT_AN_ID, "", problem(400, "invalid-json", "Not JSON", _reason(error)))
            else:
                yield Record(number, parsed.id, parsed.a, other=parsed.b if len(self._columns) > 1 else "")

    def _csv(self) -> Iterator[Record]:
        self._open = text = io.TextIOWrapper(self._buffered, self.encoding, errors="surrogateescape", newline="")
        first = text.readline()
        if not first:
            return iter(())
        delimiter = max(",;\t", key=first.count)
        rows = csv.reader(_with_first(first.removeprefix("\ufeff"), text), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(rows)]
        except (csv.Error, StopIteration) as error:
            raise ConfigError(f"{self._path}: the header cannot be read ({error})") from error
        at = [_address_column(self._path, header, column) for column in self._columns]
        id_at = next((i for i, name in enumerate(header) if name.casefold() in ID_COLUMNS), None)
        return _csv_records(rows, at, id_at, len(header))


def _csv_records(rows, at: list[int], id_at: int | None, width: int) -> Iterator[Record]:  # type: ignore[no-untyped-def]
    encode = msgspec.json.Encoder().encode
    line = rows.line_num + 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            detail = f"the row cannot be read ({error}); is a quotation mark open?"
            yield Record(line, NOT_AN_ID, "", problem(400, "invalid-csv", "Not CSV", detail))
        else:
            if row is None:
                return
            if row:
                yield _csv_record(row, line, at, id_at, width, encode)
        line = rows.line_num + 1


def _csv_record(row, line, at, id_at, width, encode) -> Record:  # type: ignore[no-untyped-def]
    try:
        id_ = NOT_AN_ID if id_at is None else msgspec.Raw(encode(row[id_at]))
        texts = [row[column] for column in at]
        for text in texts:
            text.encode()  # fails on what `surrogateescape` let through; faster than looking for it
    except IndexError:
        detail = f"the row has {len(row)} columns, the header has {width}"
        return Record(line, NOT_AN_ID, "", problem(422, "validation-failed", "Column missing", detail))
    except UnicodeEncodeError:
        detail = "the row holds bytes that are not in the encoding of the input"
        return Record(line, NOT_AN_ID, "", problem(400, "invalid-encoding", "Not text", detail))
    return Record(line, id_, texts[0], other=texts[1] if len(texts) > 1 else "")


def _encoding(path: str, head: bytes, wanted: str | None) -> str:
    if wanted:
        try:
            head.decode(wanted, "ignore")
        except LookupError as error:
            raise ConfigError(f"--encoding: {wanted} is no encoding; try utf-8 or gb18030") from error
        if "utf-8" in wanted.lower().replace("_", "-"):
            return "utf-8"
        if wanted.lower().startswith(("utf-16", "utf16", "utf-32", "utf32")):
            raise ConfigError(f"--encoding: {wanted} cannot be read as lines; convert the file to UTF-8 first")
        return wanted
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: is UTF-16; convert it to UTF-8 first (iconv -f utf-16 -t utf-8)")
    if b"\0" in head:
        raise ConfigError(f"{path}: is not text; addresses are read from CSV or NDJSON")
    if (bad := _first_bad_byte(head, "utf-8")) is None:
        return "utf-8"
    if _first_bad_byte(head, "gb18030") is None:
        raise ConfigError(f"{path}: is not UTF-8 (byte {bad}) but looks like GB18030; add --encoding gb18030")
    raise ConfigError(f"{path}: is not UTF-8 (byte {bad}); say what it is with --encoding")


def _first_bad_byte(head: bytes, encoding: str) -> int | None:
    try:
        head.decode(encoding)
    except UnicodeDecodeError as error:
        cut_short = len(head) - error.start < 4 and error.end >= len(head)  # the head may end inside a character
        return None if cut_short and len(head) >= 4096 else error.start
    return None


def _format(path: str, text: str) -> str:
    suffix = Path(path).suffix.lower()
    begins = text.lstrip()[:1]
    if begins == "[":
        raise ConfigError(f"{path}: is one JSON array; write one object per line (jq -c '.[]')")
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".ndjson", ".jsonl", ".json") or begins == "{":
        return "ndjson"
    return "csv"


def _address_column(path: str, header: list[str], wanted: str | None) -> int:
    names = ", ".join(name[:20] or "(empty)" for name in header)
    if wanted is not None:
        if header.count(wanted) == 1:
            return header.index(wanted)
        found = "no column" if wanted not in header else f"{header.count(wanted)} columns"
        raise ConfigError(f"{path}: there is {found} {wanted!r}; the header has: {names}")
    candidates = [i for i, name in enumerate(header) if name.casefold() in ADDRESS_COLUMNS]
    if len(candidates) == 1:
        return candidates[0]
    found = "no column is known to hold addresses" if not candidates else "several columns may hold addresses"
    raise ConfigError(f"{path}: {found}; name it with --column; the header has: {names}")


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long only the beginning."""
    while line := source.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := source.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield line


def _with_first(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


class _OnlyId(msgspec.Struct):
    id: msgspec.Raw = NOT_AN_ID


def _id(line: bytes) -> msgspec.Raw:
    try:
        return msgspec.json.decode(line, type=_OnlyId).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOT_AN_ID


def _reason(error: Exception) -> str:
    # The text of a UnicodeDecodeError is safe too, but its object, the line, is not wanted in any message.
    return (
        "the line holds bytes that are not in the encoding of the input"
        if isinstance(error, UnicodeDecodeError)
        else str(error)
    )
