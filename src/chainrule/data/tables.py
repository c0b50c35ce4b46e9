"""Files of rows and columns → a Table: CSV and TSV (.gz too) and Parquet by pyarrow, NumPy's .npy and .npz by NumPy.

What a column means is not decided here (data/columns.py does): a Column answers as numbers, as days or as words, and
says in which row it cannot. Rows are counted from 1, the first one below the header, as a person counts them.
"""

# More than 500 lines: what a cell of text may be, and the readers of each kind of file that share it.
from __future__ import annotations

import codecs
import csv
import gzip
import io
import lzma
import re
import stat
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import numerals
from chainrule.data.limits import Unpacked, check_parquet, check_texts
from chainrule.data.readers import MAX_BYTES, read_arrays
from chainrule.errors import DataError, FileError, SettingError
from chainrule.messages import say, shortened

Array = np.ndarray[Any, Any]

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".npy", ".npz")
MISSING = frozenset(
    [
        "",
        "?",
        "-",
        "NA",
        "N/A",
        "n/a",
        "na",
        "NaN",
        "nan",
        "-nan",
        "NULL",
        "null",
        "None",
        "none",
        "#N/A",
        "<NA>",
        "NaT",
    ]
)
"""What stands for a missing value, in texts; spaces around it do not matter."""

WRITTEN_SHARE = 0.9  # a column with so many numbers among its different texts is one of numbers
MAX_COLUMNS = 100_000
BLOCK_BYTES = 16 * 2**20  # pyarrow's unit of work: no row may be longer than that
HEADER_BYTES = 1 * 2**20
BINARY_ZEROS = 3  # so many zero bytes are no slip in a text
SHOWN = 40  # characters of a wrong value that a message repeats
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
BREAKS = re.compile(r"[\r\n\0]+")  # in a name, which messages have on one line
DAY = re.compile(
    r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})"
    r"(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
OTHER_DAYS = (
    re.compile(r"(?P<day>[0-9]{1,2})\. ?(?P<month>[0-9]{1,2})\. ?(?P<year>[0-9]{4})(?P<clock> .*)?"),
    re.compile(
        r"(?P<year>[0-9]{4})(?:\. |년 ?)(?P<month>[0-9]{1,2})(?:\. |월 ?)(?P<day>[0-9]{1,2})[.일]?(?P<clock> .*)?"
    ),
)
"""31.3.2024, 2024. 3. 31., 2024년 3월 31일: what cannot be another day."""
DAY_MICROSECONDS = 86_400e6


@dataclass(frozen=True)
class Parsed:
    """A column read as numbers: NaN where a value is missing; `wrong` are the rows (from 0) whose text is none."""

    values: Array
    wrong: Array


class Column:
    """One column. `words` are its different texts, and `codes` (N,) say which one a row has, -1 where it is missing."""

    def __init__(self, name: str, values: Any, mark: str | None = None):
        self.name = name
        self.mark = mark  # the decimal mark where numbers are written as people do, with thousands and units
        self._values = values  # floats, datetime64, or texts: a pyarrow array or one of NumPy

    @cached_property
    def is_numeric(self) -> bool:
        """Whether the file itself holds numbers here, not texts."""
        return isinstance(self._values, np.ndarray) and self._values.dtype.kind in "biuf"

    @cached_property
    def has_dates(self) -> bool:
        """Whether the file itself holds points in time here."""
        return isinstance(self._values, np.ndarray) and self._values.dtype.kind == "M"

    @cached_property
    def missing(self) -> Array:
        """(N,) True where there is no value."""
        if self.is_numeric:
            return np.isnan(self.numbers.values)
        if self.has_dates:
            return np.asarray(np.isnat(self._values))
        if not len(self.numbers.wrong):  # then nobody needs the words, of which numbers have as many as rows
            return np.isnan(self.numbers.values)
        return np.asarray(self.codes < 0)

    @cached_property
    def numbers(self) -> Parsed:
        """The values as float64."""
        none = np.zeros(0, dtype=np.int64)
        if self.is_numeric:
            return Parsed(self._values.astype(np.float64), none)
        if self.has_dates:
            return Parsed(np.full(len(self._values), np.nan), np.flatnonzero(~self.missing))
        if self.mark is not None:
            return self._looked_up([_number(word, self.mark) for word in self.words])
        if (quick := self._cast()) is not None:
            return Parsed(quick, none)
        values = [float(word) if NUMBER.fullmatch(word) else None for word in self.words]
        return self._looked_up(values)

    @cached_property
    def days(self) -> Parsed:
        """The values as days since 1970-01-01, the time of day as a fraction; time zones are not looked at."""
        if self.has_dates:
            days = self._values.astype("datetime64[us]").astype(np.float64) / DAY_MICROSECONDS
            return Parsed(np.where(self.missing, np.nan, days), np.zeros(0, dtype=np.int64))
        return self._looked_up([_day(word) for word in self.words])

    @property
    def words(self) -> list[str]:
        """The different texts, each once."""
        return self._coded[1]

    @property
    def codes(self) -> Array:
        """(N,) the place of each row's text among the words, -1 where it is missing."""
        return self._coded[0]

    @cached_property
    def _coded(self) -> tuple[Array, list[str]]:
        if self.is_numeric or self.has_dates:
            distinct, codes = np.unique(self._values[~self.missing], return_inverse=True)
            words = [_written(value) for value in distinct.tolist()] if self.is_numeric else list(map(str, distinct))
            placed = np.full(len(self._values), -1, dtype=np.int64)
            placed[~self.missing] = codes
            return placed, words
        if isinstance(self._values, np.ndarray):
            distinct, codes = np.unique(np.char.strip(self._values), return_inverse=True)
            return _without_missing(codes.astype(np.int64), distinct.tolist())
        encoded = self._trimmed.dictionary_encode().combine_chunks()
        codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
        return _without_missing(codes, encoded.dictionary.to_pylist())

    def signs_of_missing(self) -> list[str]:
        """The texts here that stand for a missing value: NA, none, ?"""
        if isinstance(self._values, np.ndarray):
            texts = np.unique(np.char.strip(self._values)).tolist() if self._values.dtype.kind == "U" else []
        else:
            texts = self._trimmed.unique().to_pylist()
        return sorted(text for text in texts if text and text in MISSING)

    @cached_property
    def _trimmed(self) -> Any:
        from pyarrow import compute

        return compute.utf8_trim_whitespace(self._values)

    def _cast(self) -> Array | None:
        """All at once by pyarrow, where every text is a number or missing; None where it is not."""
        if isinstance(self._values, np.ndarray):
            return None
        import pyarrow
        from pyarrow import compute

        texts = self._trimmed
        known = compute.if_else(compute.is_in(texts, pyarrow.array(sorted(MISSING))), None, texts)
        try:
            numbers = np.asarray(compute.cast(known, pyarrow.float64()).fill_null(np.nan))
        except pyarrow.ArrowInvalid:
            return None
        return None if np.isinf(numbers).any() else numbers  # "inf" is a number to pyarrow, and the words tell which

    def _looked_up(self, values: Sequence[float | None]) -> Parsed:
        """Each row's value from its word's; a word without one is wrong."""
        table = np.array([np.nan if v is None else v for v in values] + [np.nan])
        bad = np.array([v is None or np.isinf(v) for v in values] + [False])
        return Parsed(table[self.codes], np.flatnonzero(bad[self.codes]))

    def marked(self, mark: str) -> Column:
        """The same with numbers written as people do, by a decimal mark."""
        return Column(self.name, self._values, mark)

    def shown(self, row: int) -> str:
        """A row's value for a message."""
        code = self.codes[row]
        return shortened(repr(self.words[code]) if code >= 0 else "''", SHOWN)


@dataclass(frozen=True)
class Table:
    """Columns of the same length. `named` says whether the file had names for them; without, they are 1, 2, …

    `decimals` are the decimal marks of the columns where it was asked, as in a file with decimal commas. `first` is how
    many rows of the file come before it, where it is a piece of a large one.
    """

    source: str
    columns: tuple[Column, ...]
    rows: int
    named: bool = True
    decimals: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    first: int = 0

    @property
    def names(self) -> list[str]:
        """The columns' names, in the order of the file."""
        return [column.name for column in self.columns]

    def find(self, name: str) -> Column | None:
        """The column of that name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}


def read_table(
    path: str | Path, *, header: bool | None = None, encoding: str = "utf-8", decimals: Mapping[str, str] | None = None
) -> Table:
    """Read a table.

    `decimals` are the marks that columns had before, for numbers that leave them open, such as 1,234; without, the
    other numbers of the file tell.

    `header` says whether the first row of a text file holds names; None: it does unless one of them is a number.
    An .npz file holds one array, or x (N, …) beside y (N,), which becomes the last column.
    Raises: FileError, DataError, SettingError for an unknown encoding: one line that names file, row and column.
    """
    path = Path(path)
    suffix = path.name.lower().removesuffix(".gz")
    if suffix.endswith((".npy", ".npz")):
        return _from_arrays(path)
    content = _content(path)
    if suffix.endswith(".parquet"):
        return _from_parquet(path, content)
    return _with_marks(_from_text(path, content, header, encoding), decimals or {})


def _bad(path: Path, key: str, **values: object) -> DataError:
    return DataError(say(f"tables.{key}", path=path, **values))


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(say("data.not_a_file", path=path))
        if path.stat().st_size > MAX_BYTES:
            raise FileError(say("data.file_too_large", path=path, limit=MAX_BYTES))
        with open(path, "rb") as file:
            content = Unpacked(path, file, MAX_BYTES).read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileError(say("data.no_file", path=path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError):
        raise FileError(say("tables.not_gzip", path=path)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FileError(say("data.cannot_read", path=path, reason=reason)) from None
    if len(content) > MAX_BYTES:
        raise FileError(say("data.file_too_large", path=path, limit=MAX_BYTES))
    return content


def arrow() -> Any:
    """pyarrow's package. Raises: SettingError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise SettingError(say("tables.no_pyarrow")) from None
    return pyarrow


# --- text -------------------------------------------------------------------------------------------------------------


def _from_text(path: Path, content: bytes, header: bool | None, encoding: str) -> Table:
    pyarrow = arrow()
    if (zero := content.find(b"\0")) >= 0 and "16" not in encoding and "32" not in encoding:
        if content.count(b"\0", 0, HEADER_BYTES) >= BINARY_ZEROS:
            raise _bad(path, "no_text")
        raise _bad(path, "nul_byte", **_place(content, zero))
    content = _utf8(path, content, encoding)
    start = content[:HEADER_BYTES].decode(errors="replace")
    if not start.strip():
        raise _bad(path, "empty_file")
    if len(content) > HEADER_BYTES and "\n" not in start and "\r" not in start:
        raise _bad(path, "long_header", limit=HEADER_BYTES)
    delimiter = _delimiter(path, start)
    try:
        first = next(row for row in csv.reader(io.StringIO(start, newline=""), delimiter=delimiter) if row)
    except (csv.Error, StopIteration):
        raise _bad(path, "not_a_table") from None
    named = not any(NUMBER.fullmatch(cell.strip()) for cell in first) if header is None else header
    names = checked_names(path, first if named else [""] * len(first))  # without names they are 1, 2, …
    table = _parse(pyarrow, path, content, delimiter, names, named)
    if table.num_rows == 0:
        raise _bad(path, "no_rows")
    columns = [Column(name, table.column(k)) for k, name in enumerate(names)]
    if named:  # a sign after the last name makes a column of nothing
        columns = [c for c, cell in zip(columns, first, strict=True) if cell.strip() or not c.missing.all()]
    return Table(str(path), tuple(columns), table.num_rows, named, delimiter=delimiter)


def _with_marks(table: Table, before: Mapping[str, str]) -> Table:
    """The columns of numbers as people write them, each with its decimal mark. Raises: DataError."""
    odd = [c for c in table.columns if len(c.numbers.wrong) and numerals.are_numbers(c.words, WRITTEN_SHARE)]
    found: dict[str, str] = {}
    for column in odd:
        by_mark = numerals.marks_of(column.words)
        counts = {mark: len(words) for mark, words in by_mark.items()}
        # A few of another mark are mistakes, which are named where the column is used.
        if counts and max(counts.values()) < WRITTEN_SHARE * sum(counts.values()):
            comma, point = by_mark[","][0], by_mark["."][0]
            raise _bad(Path(table.source), "two_marks", name=column.name, comma=comma, point=point)
        if counts:
            found[column.name] = max(counts, key=counts.__getitem__)
    known = set(found.values()) or ({"."} if table.delimiter != ";" else set())
    marks: dict[str, str] = {}
    for column in odd:
        mark = found.get(column.name) or before.get(column.name) or (next(iter(known)) if len(known) == 1 else None)
        if mark is None and (example := next(filter(numerals.is_open, column.words), None)) is not None:
            raise _bad(Path(table.source), "open_mark", name=column.name, came=example)
        marks[column.name] = mark or "."
    decimals = dict(marks)
    for column in table.columns:  # where others have a comma, 1.234 is no decimal number either
        mark = before.get(column.name) or ("," if known == {","} else ".")
        if column.name not in marks and mark == "," and not len(column.numbers.wrong):
            decimals[column.name] = "." if numerals.marks_of(column.words) else ","
            if decimals[column.name] == "," and any(map(numerals.is_open, column.words)):
                marks[column.name] = ","
    columns = tuple(c.marked(marks[c.name]) if c.name in marks else c for c in table.columns)
    return replace(table, columns=columns, decimals=decimals)


def _utf8(path: Path, content: bytes, encoding: str) -> bytes:
    """The file as UTF-8, without its byte order mark. Raises: DataError with row and column; SettingError."""
    try:
        if codecs.lookup(encoding).name != "utf-8":
            return content.decode(encoding).removeprefix("\ufeff").encode()
        content = content.removeprefix(codecs.BOM_UTF8)
        if not content.isascii():
            content.decode()
    except LookupError:
        raise SettingError(say("tables.unknown_encoding", came=encoding)) from None
    except UnicodeError as error:
        place = _place(content, getattr(error, "start", 0))
        raise _bad(path, "not_encoded", **place, encoding=encoding) from None
    return content


def _place(content: bytes, at: int) -> dict[str, int]:
    """The line and the byte in it, from 1, of a place in a file."""
    before = content[:at]
    return {"line": before.count(b"\n") + 1, "column": len(before) - before.rfind(b"\n")}


def _delimiter(path: Path, start: str) -> str:
    """Tabs in a .tsv file; else the sign of ',', ';', tab and '|' that the first line has most often."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    counts = Counter(re.sub(r'"[^"]*"', "", start.lstrip().split("\n", 1)[0]))
    return max(",;\t|", key=lambda sign: counts[sign])


def checked_names(path: Path, first: Sequence[str]) -> list[str]:
    if len(first) > MAX_COLUMNS:
        raise _bad(path, "too_many_columns", came=len(first), limit=MAX_COLUMNS)
    names = [BREAKS.sub(" ", cell.strip()) or str(n + 1) for n, cell in enumerate(first)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join(str(n + 1) for n, name in enumerate(names) if name == twice[0])
        raise _bad(path, "name_twice", name=twice[0], places=places)
    return names


def _parse(pyarrow: Any, path: Path, content: bytes, delimiter: str, names: list[str], named: bool) -> Any:
    """pyarrow's table of texts. Raises: DataError for a row with another number of cells."""
    wrong: list[Any] = []

    def note(row: Any) -> str:
        wrong.append(row)
        return "skip"

    def read(threads: bool) -> Any:
        return pyarrow.csv.read_csv(
            pyarrow.BufferReader(content),
            pyarrow.csv.ReadOptions(
                column_names=names, skip_rows_after_names=int(named), use_threads=threads, block_size=BLOCK_BYTES
            ),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.string()), null_values=[], strings_can_be_null=False
            ),
        )

    try:
        table = read(threads=True)
        if wrong:
            wrong.clear()
            read(threads=False)  # once more in order: only then does pyarrow count the rows
    except pyarrow.ArrowInvalid as error:
        if "straddling" in str(error):  # what pyarrow says of a row without an end
            raise _bad(path, "not_a_table") from None
        reason = " ".join(str(error).split())[:200]
        raise _bad(path, "cannot_parse", reason=reason) from None
    if wrong:
        first = wrong[0]
        row = "?" if first.number is None else first.number - int(named)
        if first.text.count('"') % 2:
            raise _bad(path, "open_quote", row=row)
        raise _bad(path, "ragged", row=row, came=first.actual_columns, wanted=first.expected_columns)
    if table.num_rows and _ends_in_quotes(content, table.column(len(names) - 1)[-1].as_py()):
        raise _bad(path, "open_quote", row=table.num_rows)
    return table


def _ends_in_quotes(content: bytes, last: str) -> bool:
    """Whether the last value was opened by a quote that is never closed: pyarrow takes all that follows as its text."""
    if not last or content.count(b'"') % 2 == 0:
        return False
    return content.endswith(b'"' + last.replace('"', '""').encode())


# --- other files ------------------------------------------------------------------------------------------------------


def _from_parquet(path: Path, content: bytes) -> Table:
    pyarrow = arrow()
    try:
        opened = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        schema = opened.schema_arrow
        names, written = parquet_names(path, schema)
        check_parquet(path, opened.metadata, len(names), MAX_BYTES)
        if opened.metadata.num_rows == 0:
            raise _bad(path, "no_rows")
        for name, own in zip(names, written, strict=True):  # before anything is decoded
            from_arrow(pyarrow, path, name, pyarrow.chunked_array([], schema.field(own).type))
        texts = [own for own in written if _is_text(pyarrow, schema.field(own).type)]
        reader = pyarrow.parquet.ParquetFile(
            pyarrow.BufferReader(content),
            metadata=opened.metadata,
            read_dictionary=texts,
            page_checksum_verification=True,
        )
        table = reader.read(columns=written)
        for own in texts:
            check_texts(path, table.column(own), MAX_BYTES)
    except (DataError, FileError):
        raise
    except Exception:  # noqa: BLE001 (a damaged file raises what Arrow, Thrift and the unpackers raise)
        raise FileError(say("tables.not_parquet", path=path)) from None
    if table.num_rows == 0:
        raise _bad(path, "no_rows")
    columns = tuple(
        Column(name, from_arrow(pyarrow, path, name, table.column(own)))
        for name, own in zip(names, written, strict=True)
    )
    return Table(str(path), columns, table.num_rows)


def parquet_names(path: Path, schema: Any) -> tuple[list[str], list[str]]:
    """The columns' names as they are shown, and as the file has them, which may be with spaces and line breaks.

    Raises: DataError for one on several columns.
    """
    written = [name for name in schema.names if name != "__index_level_0__"]
    names = checked_names(path, written)
    if written.count("") > 1:  # in a text file these would be columns without a name
        places = ", ".join(str(n + 1) for n, name in enumerate(written) if not name)
        raise _bad(path, "name_twice", name='""', places=places)
    return names, written


def _is_text(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def from_arrow(pyarrow: Any, path: Path, name: str, values: Any, first: int = 0) -> Any:
    """A typed column as floats, datetime64, or texts; `first` is how many rows of the file come before it."""
    kinds, compute = pyarrow.types, pyarrow.compute
    kind = values.type.value_type if kinds.is_dictionary(values.type) else values.type
    try:
        if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) or kinds.is_null(kind):
            return np.asarray(compute.cast(values, pyarrow.float64()).fill_null(np.nan))
        if kinds.is_timestamp(kind) or kinds.is_date(kind):
            moments = compute.cast(compute.cast(values, pyarrow.timestamp("us"), safe=False), pyarrow.int64())
            filled = np.asarray(moments.fill_null(np.iinfo(np.int64).min))
            return filled.view("datetime64[us]")  # the smallest number is NaT
        if kinds.is_boolean(kind) or kinds.is_string(kind) or kinds.is_large_string(kind):
            return _checked_texts(pyarrow, path, name, compute.cast(values, pyarrow.string()).fill_null(""), first)
    except pyarrow.ArrowException:
        pass
    raise _bad(path, "odd_column", name=name, kind=values.type)


def _checked_texts(pyarrow: Any, path: Path, name: str, texts: Any, first: int) -> Any:
    """The same, of which pyarrow's reader says that it is UTF-8 without a look."""
    try:
        texts.validate(full=True)
    except pyarrow.ArrowInvalid:
        for row, value in enumerate(texts.cast(pyarrow.binary()).to_pylist()):
            try:
                value.decode()
            except UnicodeDecodeError:
                raise _bad(path, "text_not_encoded", name=name, row=first + row + 1) from None
    return texts


def _from_arrays(path: Path) -> Table:
    """A matrix, whose columns are 1, 2, …; of an archive x and, beside it, y as the last column, of the name y."""
    x, y = arrays_of_table(path, read_arrays(path))
    columns = [Column(str(k + 1), x[:, k]) for k in range(x.shape[1])]
    columns += [] if y is None else [Column("y", y)]
    return Table(str(path), tuple(columns), len(x), named=False)


def arrays_of_table(path: Path, arrays: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """The matrix of a file's arrays, and the target (N,) beside it, if there is one. Raises: FileError, DataError."""
    lower = {name.lower(): array for name, array in arrays.items()}
    x = next((lower[n] for n in ("x", "data") if n in lower), None)
    y = next((lower[n] for n in ("y", "t", "target", "label", "labels") if n in lower), None)
    if x is None and len(arrays) == 1:
        x = next(iter(arrays.values()))
    if x is None:
        raise FileError(say("tables.which_arrays", path=path, names=", ".join(arrays) or "–"))
    if x.ndim < 2 or not len(x) or x.dtype.kind not in "biufU":
        raise _bad(path, "not_a_matrix", came=_written_shape(x))
    x = x.reshape(len(x), -1)
    if x.shape[1] > MAX_COLUMNS:
        raise _bad(path, "too_many_columns", came=x.shape[1], limit=MAX_COLUMNS)
    if y is not None:
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.shape != (len(x),) or y.dtype.kind not in "biufU":
            raise _bad(path, "odd_target", came=_written_shape(y), rows=len(x))
    return x, y


def _written_shape(array: Array) -> str:
    return f"{array.dtype} ({', '.join(map(str, array.shape))})"


# --- texts ------------------------------------------------------------------------------------------------------------


def _without_missing(codes: Array, words: Sequence[str]) -> tuple[Array, list[str]]:
    """Codes of the words that stand for something; -1 for the others."""
    kept = [word for word in words if word not in MISSING]
    places = {word: code for code, word in enumerate(kept)}
    moved = np.array([places.get(word, -1) for word in words] + [-1], dtype=np.int64)
    return moved[codes], kept


def _written(value: float) -> str:
    """3 for 3.0: a whole number in one file is the same word as in another."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _number(word: str, mark: str) -> float | None:
    number = numerals.value_of(word, mark)
    return float(word) if number is None and NUMBER.fullmatch(word) else number


def _day(word: str) -> float | None:
    """Days since 1970 of 2024-03-31, 2024/3/31, 31.3.2024 or 2024-03-31 12:30; None for another text."""
    for form in OTHER_DAYS:
        if (other := form.fullmatch(word)) is not None:
            word = f"{other['year']}-{other['month']}-{other['day']}{other['clock'] or ''}"
    match = DAY.fullmatch(word)
    if match is None:
        return None
    year, _, month, day, hour, minute, second = match.groups()
    try:
        date = np.datetime64(f"{year}-{int(month):02}-{int(day):02}", "D")
    except ValueError:
        return None
    clock = [int(part or 0) for part in (hour, minute, second)]
    if clock[0] > 23 or clock[1] > 59 or clock[2] > 60:
        return None
    return float(date.astype(np.int64)) + (clock[0] * 3600 + clock[1] * 60 + clock[2]) / 86_400
