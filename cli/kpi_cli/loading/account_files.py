"""Reads the accounts of an export: CSV or JSON lines, as records of the auth service's import."""

import csv
import io
import json
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import IO, Self, TextIO

from kpi_cli.errors import FailureError

FIELDS = ("username", "email", "hash", "created_at", "role", "verified")
_DELIMITERS = ",;\t"
# As Excel names the delimiter on a line of its own before the header.
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')
# Longer lines are no accounts, and would be read into memory.
_LONGEST = 1024 * 1024
_MOST_KEYS = 1000
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet or an archive, and no text",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
}
_SHOWN = 20
_SHOWN_LENGTH = 40


class Format(StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_ENDINGS = {".csv": Format.CSV, ".tsv": Format.CSV, ".jsonl": Format.JSON_LINES, ".ndjson": Format.JSON_LINES}


class Lines:
    """The lines of a text and the number of the last one; csv.Error, which a CSV reader passes on, for a long one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pending: str | None = None
        self.number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line, self._pending = self._pending or self._stream.readline(_LONGEST), None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST:
            while line and not line.endswith(("\n", "\r")):
                line = self._stream.readline(_LONGEST)
            raise csv.Error("it is longer than a megabyte")
        return line

    def find_delimiter(self) -> str:
        """The one that the first line names, or has most of."""
        first = self._stream.readline(_LONGEST)
        if named := _SEPARATOR.fullmatch(first):
            self.number += 1
            return named[1]
        self._pending = first
        return max(_DELIMITERS, key=first.count)


class AccountFile:
    """``columns`` says which column of the file a field is taken from; an empty one leaves the field out."""

    def __init__(self, file: Path, form: Format | None, columns: str) -> None:
        self._file = file
        self._form = form or _find_form(file)
        self._columns = _read_columns(columns)
        self._copy: IO[bytes] | None = None
        # The keys of the JSON objects so far; a dict, which keeps their order.
        self._keys: dict[str, None] = {}
        # Columns that the import has no use for; complete when all records were read.
        self.ignored: tuple[str, ...] = ()

    def records(self) -> Iterator[dict[str, object]]:
        """One for each line, with its number; what cannot be read is a record that says why. May be called again."""
        try:
            with self._open() as stream:
                self._check_text(stream.peek(4))
                # Bytes that are no UTF-8 become characters that neither a name nor an address nor a hash may have.
                lines = Lines(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=""))
                yield from self._read_csv(lines) if self._form is Format.CSV else self._read_json(lines)
        except OSError as error:
            raise FailureError("user", f"{self._file}: {error.strerror}", fix="choose another file") from error

    def _open(self) -> io.BufferedReader:
        """The file; what can be read only once, such as a pipe, from a copy without a name, which ends with this."""
        if self._copy is None:
            if self._file.is_file():
                return self._file.open("rb")
            with self._file.open("rb") as source:
                self._copy = tempfile.TemporaryFile()  # noqa: SIM115 it is read more than once
                shutil.copyfileobj(source, self._copy)
                self._copy.flush()
            weakref.finalize(self, self._copy.close)
        self._copy.seek(0)
        return open(os.dup(self._copy.fileno()), "rb")  # noqa: PTH123 the caller closes the descriptor

    def _check_text(self, first: bytes) -> None:
        for mark, found in _NO_TEXT.items():
            if first.startswith(mark):
                raise FailureError("user", f"{self._file} is {found}", fix="save it as CSV in UTF-8")

    def _read_csv(self, lines: Lines) -> Iterator[dict[str, object]]:
        delimiter = lines.find_delimiter()
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        try:
            names = [name.strip() for name in next(filter(None, rows), [])]
        except csv.Error as error:
            raise FailureError("user", f"the header of {self._file} is not CSV: {error}", fix="correct it") from error
        self._check_columns(names)
        while True:
            began = lines.number + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield {"line": began, "unreadable": f"it is not CSV: {error}"}
                row = []
            if len(row) == len(names):
                yield {"line": began, **self._choose(dict(zip(names, row, strict=True)))}
            elif row:
                yield {"line": began, "unreadable": f"it has {len(row)} columns, and the header has {len(names)}"}

    def _read_json(self, lines: Lines) -> Iterator[dict[str, object]]:
        while True:
            try:
                line = next(lines)
            except StopIteration:
                break
            except csv.Error as error:
                yield {"line": lines.number, "unreadable": str(error)}
                continue
            if line.strip():
                yield {"line": lines.number, **self._read_object(line)}
        if self._keys:
            self._check_columns(list(self._keys))

    def _read_object(self, line: str) -> dict[str, object]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return {"unreadable": "it is not JSON"}
        if not isinstance(found, dict):
            return {"unreadable": "it is not a JSON object"}
        if len(self._keys) < _MOST_KEYS:
            self._keys |= dict.fromkeys(found)
        return self._choose(found)

    def _choose(self, record: Mapping[str, object]) -> dict[str, object]:
        """The fields of a record, each from its column."""
        chosen = {field: record.get(column) for field, column in self._columns.items() if column}
        return {field: value for field, value in chosen.items() if value is not None}

    def _check_columns(self, names: list[str]) -> None:
        known = shorten(filter(None, names)) or "none"
        if missing := [column for column in self._given() if column not in names]:
            raise FailureError(
                "user", f"{self._file} has no column {missing[0]}: it has {known}", fix="correct --columns"
            )
        if twice := [column for column in self._columns.values() if column and names.count(column) > 1]:
            raise FailureError("user", f"{self._file} has the column {twice[0]} twice", fix="rename or remove one")
        if not {self._columns["username"], self._columns["email"]} & set(names):
            problem = f"{self._file} has no column username or email: it has {known}"
            raise FailureError("user", problem, fix="name one: --columns username=login,email=mail")
        if self._columns["hash"] not in ("", *names):
            problem = f"{self._file} has no column hash, so that all would have no password: it has {known}"
            raise FailureError("user", problem, fix="name it: --columns hash=password, or --columns hash= for none")
        self.ignored = tuple(name for name in names if name and name not in self._columns.values())

    def _given(self) -> list[str]:
        return [column for field, column in self._columns.items() if column and column != field]


def shorten(names: Iterable[str]) -> str:
    """For a message: not the whole first line of a file of another kind."""
    found = list(names)
    shown = [name[:_SHOWN_LENGTH] for name in found[:_SHOWN]]
    return ", ".join([*shown, "..."] if len(found) > _SHOWN else shown)


def _find_form(file: Path) -> Format:
    form = _ENDINGS.get(file.suffix.lower())
    if form is None:
        raise FailureError(
            "user", f"the ending of {file.name} does not say what it is", fix="add --format csv or --format jsonl"
        )
    return form


def _read_columns(text: str) -> dict[str, str]:
    columns = {field: field for field in FIELDS}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        field, equals, column = (part.strip() for part in pair.partition("="))
        if not equals or field not in FIELDS:
            raise FailureError(
                "user",
                f"--columns {pair}: a field and a column are needed; the fields are {', '.join(FIELDS)}",
                fix="write it as in --columns hash=encrypted_password,verified=email_confirmed_at",
            )
        columns[field] = column
    return columns
