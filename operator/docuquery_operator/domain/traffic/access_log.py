"""Access logs: one JSON object a line, or the common and combined formats of Apache and nginx.

Two ways to read: `parse_line` takes anything; a Layout, learnt from one line, cuts a whole block of lines of the same shape
into columns by one call of a regular expression, and answers None where a single line does not fit.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LONGEST_NAME = 200
LONGEST_TIME = 40
CLIENT, USER, PATH, STATUS, AGENT, TIME = COLUMNS = ("client", "user", "path", "status", "agent", "time")
NAMES: Mapping[str, tuple[str, ...]] = {
    CLIENT: ("client", "client_ip", "clientIp", "client_addr", "remote_addr", "remoteAddr", "remote_ip", "ip", "remote"),
    USER: ("user", "user_id", "userId", "remote_user", "username"),
    PATH: ("path", "uri", "request_uri", "url", "request"),
    STATUS: ("status", "status_code", "statusCode", "code"),
    AGENT: ("userAgent", "user_agent", "http_user_agent", "agent", "ua"),
    TIME: ("ts", "time", "timestamp", "@timestamp", "time_iso8601"),
}
MONTHS = {name: n for n, name in enumerate(calendar.month_abbr) if name}
_QUOTED = rb'"((?:[^"\\]|\\.)*+)"'
_COMMON = re.compile(
    rb'([^ ]++) [^ ]++ ([^"]{1,256}?) \[(\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d) ([+-]\d{4})\] '
    + _QUOTED
    + rb" ([1-5]\d\d) [-\d]++(?: "
    + _QUOTED
    + b" "
    + _QUOTED
    + b")?"
)
_IDENTIFIER = r"/(?:\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,64})(?=[/\n]|$)"
_FOLDED = re.compile(_IDENTIFIER)
_QUERIES = re.compile(r"[?#][^\n]*")
_REQUESTS = re.compile(r"(?m)^[A-Z]{3,16} (/[^ \n]*+)(?: HTTP/[0-9.]+)?$")
_ZONED = re.compile(r"(.{19})(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d|)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. second: of the Unix epoch, None when unknown; '' or '-' for a name that is not told."""

    client: str
    user: str
    path: str
    status: int
    agent: str
    second: int | None


def parse_line(line: bytes) -> Entry | None:
    """Any line, also with a container's name before the object; None when it is no request."""
    start = line.find(b'{"')
    entry = _json_entry(line[start:]) if start >= 0 else None
    return entry or _common_entry(line)


def _json_entry(line: bytes) -> Entry | None:
    try:
        found = json.loads(line.decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    fields = {column: next((found[n] for n in names if n in found), None) for column, names in NAMES.items()}
    status = status_of(fields[STATUS])
    if status is None:
        return None
    client, user, path, agent = (name_of(fields[c]) for c in (CLIENT, USER, PATH, AGENT))
    return Entry(client, user, fold(path), status, agent, second_of(fields[TIME]))


def _common_entry(line: bytes) -> Entry | None:
    found = _COMMON.match(line)
    if found is None:
        return None
    client, user, at, zone, request, status, _, agent = (name_of(part or b"") for part in found.groups())
    second = common_second(at, zone)
    return Entry(client, user, fold(request), int(status), agent, second)


def name_of(value: object) -> str:
    """A value as a name: capped, '' when there is none."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value)[:LONGEST_NAME] if isinstance(value, str | int) and not isinstance(value, bool) else ""


def status_of(value: object) -> int | None:
    """A status code, None when it is none."""
    try:
        number = int(value) if isinstance(value, str | int) and len(str(value)) == 3 else 0
    except ValueError:
        return None
    return number if 100 <= number <= 599 else None


def fold(path: str) -> str:
    """The path of a request line or an address, without query, identifiers as {id}."""
    if not path.startswith("/"):
        path = _REQUESTS.sub(r"\1", path)
        path = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
    if "?" in path or "#" in path:
        path = path.partition("?")[0].partition("#")[0]
    return _FOLDED.sub("/{id}", path)


def second_of(value: object) -> int | None:
    """Second of the epoch, from ISO 8601 or from a number of seconds or milliseconds; no zone means UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value > 1e11 else value
        return int(seconds) if 0 <= seconds < 1e11 else None
    if not isinstance(value, str) or len(value) > LONGEST_TIME:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    whole = at.replace(microsecond=0) if at.tzinfo else at.replace(microsecond=0, tzinfo=UTC)
    return int(whole.timestamp()) if whole.year > 1970 else None


def common_second(at: str, zone: str) -> int | None:
    """Second of the epoch from `25/Nov/2026:04:47:07` and `+0100`."""
    try:
        day, month, year = int(at[0:2]), MONTHS[at[3:6].title()], int(at[7:11])
        whole = datetime(year, month, day, int(at[12:14]), int(at[15:17]), int(at[18:20]), tzinfo=UTC)
        offset = 3600 * int(zone[1:3]) + 60 * int(zone[3:5])
    except (ValueError, KeyError):
        return None
    return int(whole.timestamp()) - (-offset if zone[0] == "-" else offset)


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of lines. columns: the names of the groups of `pattern`, in their order; zone: of all its times."""

    pattern: re.Pattern[bytes]
    columns: tuple[str, ...]
    json: bool
    zone: str = ""

    def rows(self, block: bytes, lines: int) -> list[tuple[bytes, ...]] | None:
        """The columns of each line of a block, which ends with a line break; None where one is of another shape.

        A quote inside a value has a backslash before it; without any, each value ends at the next quote.
        """
        if b"\\" in block:
            return None
        found: list[tuple[bytes, ...]] = self.pattern.findall(block)
        return found if len(found) == lines else None

    def texts(self, column: str, pieces: Collection[bytes]) -> list[str]:
        """What each piece says, as parse_line would; nearly always by a few calls for all of them."""
        whole = b"\n".join(pieces)
        odd = not whole.isascii() or max(map(len, pieces), default=0) > LONGEST_NAME or (column == PATH and b"://" in whole)
        if odd or not pieces:
            return [_text(column, piece) for piece in pieces]
        text = whole.decode()
        if column == PATH:
            text = _QUERIES.sub("", _REQUESTS.sub(r"\1", text) if " " in text else text)
            text = _FOLDED.sub("/{id}", text)
        return text.split("\n")

    def second(self, raw: bytes) -> int | None:
        """Second of the epoch of a piece of the column `time`."""
        text = raw.decode(errors="replace")
        if not self.json:
            return common_second(text, self.zone)
        return second_of(int(text)) if text.isdigit() else second_of(text + self.zone)


def _text(column: str, piece: bytes) -> str:
    name = name_of(piece)
    return fold(name) if column == PATH else name


def learn(line: bytes) -> Layout | None:
    """The layout of a line; None when it has none, or one that is better read line by line."""
    if not line.startswith(b"{"):
        return _common_layout(line)
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _json_layout(line, fields) if isinstance(fields, dict) else None


def _common_layout(line: bytes) -> Layout | None:
    found = _COMMON.fullmatch(line)
    if found is None:
        return None
    combined, zone = found.group(8) is not None, found.group(4)
    pattern = (
        rb"(?m)^([^ ]++) [^ ]++ ([^ ]++) \[(\d\d/.{17}) "
        + re.escape(zone)
        + rb'\] "([^"]*+)" ([1-5]\d\d) [-\d]++'
        + (rb' "[^"]*+" "([^"]*+)"\n' if combined else rb"\n")
    )
    columns = (CLIENT, USER, TIME, PATH, STATUS, AGENT) if combined else (CLIENT, USER, TIME, PATH, STATUS)
    return Layout(re.compile(pattern), columns, json=False, zone=zone.decode())


def _json_layout(line: bytes, fields: Mapping[str, Any]) -> Layout | None:
    chosen = {n: c for c, names in NAMES.items() if (n := next((n for n in names if n in fields), None))}
    if STATUS not in chosen.values() or any(isinstance(v, dict | list) for v in fields.values()):
        return None
    for comma, colon in (",:", (", ", ": ")):
        parts, columns, zone = [], [], ""
        for name, value in fields.items():
            column = chosen.get(name, "")
            part, zone = _json_part(column, value, zone)
            if not part:
                return None
            columns += [column] if column else []
            parts.append(re.escape(json.dumps(name) + colon).encode() + part)
        layout = Layout(re.compile(rb"(?m)^{" + comma.encode().join(parts) + rb"}\n"), tuple(columns), json=True, zone=zone)
        if layout.rows(line + b"\n", 1):
            return layout
    return None


def _json_part(column: str, value: Any, zone: str) -> tuple[bytes, str]:
    """Pattern of one value, and the zone of the times; b'' when it is better read line by line."""
    if not column:
        return (rb'"[^"]*+"' if isinstance(value, str) else rb'(?:[^,"}]++|"[^"]*+")'), zone
    if column == STATUS:
        return (rb'"([1-5]\d\d)"' if isinstance(value, str) else rb"([1-5]\d\d)"), zone
    if column != TIME:
        return (rb'(?:"([^"]*+)"|null)' if value is None or isinstance(value, str) else b""), zone
    if isinstance(value, str):
        found = _ZONED.fullmatch(value)
        if found is None:
            return b"", zone
        zone = found.group(2)
        return rb'"(.{19})(?:[.,]\d++)?+' + re.escape(zone).encode() + b'"', zone
    if isinstance(value, int | float) and 1e9 <= value < 1e10:
        return rb"(\d{10})(?:\.\d++)?+", zone
    return (rb"(\d{10})\d{3}", zone) if isinstance(value, int) and 1e12 <= value < 1e13 else (b"", zone)
