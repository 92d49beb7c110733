"""SQL by name: each .sql file is a list of explained queries, loaded once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_HEADING = re.compile(r"^-- (name|part): (\w+)$", re.MULTILINE)


@cache
def load(subject: str, dialect: str = "sqlite") -> Mapping[str, str]:
    """The queries of `sql/<dialect>/<subject>.sql` by their names.

    `-- name: x` begins a query and `-- part: x` a piece that queries take in as `{x}`; other comment
    lines explain. The texts are constants, so SQLite's statement cache knows them again.
    """
    text = (files("storage") / "sql" / dialect / f"{subject}.sql").read_text("utf-8")
    parts: dict[str, str] = {}
    queries: dict[str, str] = {}
    pieces = _HEADING.split(text)
    for heading, name, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
        sql = "\n".join(lines).strip().removesuffix(";")
        for part, columns in parts.items():
            sql = sql.replace("{" + part + "}", columns)
        (parts if heading == "part" else queries)[name] = sql
    return MappingProxyType(queries)
