"""Reads the accounts of an export: CSV or JSON lines, as records of the auth service's import."""

import csv
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from kpi_cli.errors import FailureError

FIELDS = ("username", "email", "hash", "created_at", "role", "verified")
_DELIMITERS = ",;\t"
# Longer lines are no accounts, and would be read into memory.
_LONGEST = 1024 * 1024


class Format(StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_ENDINGS = {".csv": Format.CSV, ".tsv": Format.CSV, ".jsonl": Format.JSON_LINES, ".ndjson": Format.JSON_LINES}


class AccountFile:
    """``columns`` says which column of the file a field is taken from; an empty one leaves the field out."""

    def __init__(self, file: Path, form: Format | None, columns: str) -> None:
        self._file = file
        self._form = form or _find_form(file)
        self._columns = _read_columns(columns)
        # Columns that the import has no use for.
        self.ignored: tuple[str, ...] = ()

    def records(self) -> Iterator[dict[str, object]]:
        """One for each line, with its number; what cannot be read is a record that says why."""
        try:
            # Bytes that are no UTF-8 become characters that neither a name nor an address nor a hash may have.
            with self._file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                yield from self._read_csv(stream) if self._form is Format.CSV else self._read_json(stream)
        except OSError as error:
            raise FailureError("user", f"{self._file}: {error.strerror}", fix="choose another file") from error

    def _read_csv(self, stream: Any) -> Iterator[dict[str, object]]:  # noqa: ANN401 a file or a list of lines
        first = stream.readline(_LONGEST)
        delimiter = max(_DELIMITERS, key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        self._check_columns(names)
        rows, line = csv.reader(stream, delimiter=delimiter), 1
        while True:
            began = line + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield {"line": began, "unreadable": f"it is not CSV: {error}"}
                row = []
            line = 1 + rows.line_num
            if len(row) == len(names):
                yield {"line": began, **self._choose(dict(zip(names, row, strict=True)))}
            elif row:
                yield {"line": began, "unreadable": f"it has {len(row)} columns, and the header has {len(names)}"}

    def _read_json(self, stream: Any) -> Iterator[dict[str, object]]:  # noqa: ANN401 as above
        number = 0
        while line := stream.readline(_LONGEST):
            number += 1
            if line.strip():
                yield {"line": number, **self._read_object(line)}

    def _read_object(self, line: str) -> dict[str, object]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return {"unreadable": "it is not JSON"}
        return self._choose(found) if isinstance(found, dict) else {"unreadable": "it is not a JSON object"}

    def _choose(self, record: Mapping[str, object]) -> dict[str, object]:
        """The fields of a record, each from its column."""
        chosen = {field: record.get(column) for field, column in self._columns.items() if column}
        return {field: value for field, value in chosen.items() if value is not None}

    def _check_columns(self, names: list[str]) -> None:
        known = ", ".join(filter(None, names)) or "none"
        if missing := [column for column in self._given() if column not in names]:
            raise FailureError(
                "user", f"{self._file} has no column {missing[0]}: it has {known}", fix="correct --columns"
            )
        if not {self._columns["username"], self._columns["email"]} & set(names):
            problem = f"{self._file} has no column username or email: it has {known}"
            raise FailureError("user", problem, fix="name one: --columns username=login,email=mail")
        self.ignored = tuple(name for name in names if name and name not in self._columns.values())

    def _given(self) -> list[str]:
        return [column for field, column in self._columns.items() if column and column != field]


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
