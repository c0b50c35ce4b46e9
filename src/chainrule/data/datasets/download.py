"""A published file, fetched into a folder: the right one or none.

Its addresses are tried one after another. What comes is written beside its place, never more of it than the file has
bytes, and takes the place only if the SHA-256 is the published one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from chainrule.data.datasets.published import Download
from chainrule.data.whole_files import replacing
from chainrule.errors import FileError
from chainrule.messages import say

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0  # to connect; between two pieces
SLOWEST = 20_000  # bytes a second, on average after the first minute: EMNIST's archive would take eight hours
PATIENCE_SECONDS = 60.0
PIECE_BYTES = 2**16
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")


class Watch(Protocol):
    """Told of a download: `begin` before it, `advance` after each piece, with the bytes that came."""

    def begin(self, file: Download, url: str, folder: Path) -> None: ...

    def advance(self, count: int) -> None: ...


class _Refused(Exception):
    """Why what an address sent is not the file."""


def is_right(path: Path, file: Download) -> bool:
    """Whether a file is there and has the published SHA-256. Raises: OSError where it is there and cannot be read."""
    try:
        if path.stat().st_size != file.size:
            return False
    except FileNotFoundError:
        return False
    return sha256_of(path) == file.sha256


def sha256_of(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fetch(file: Download, name: str, page: str, folder: Path, watch: Watch | None = None) -> Path:
    """The file in the folder, downloaded there where it is not there yet.

    `name` is the data set's, `page` where a person finds it.
    Raises: FileError, one line with what each address answered and what to do by hand.
    """
    path = folder / file.name
    tried: list[str] = []
    try:
        if is_right(path, file):
            return path
        for url in file.urls:
            try:
                _download(file, url, path, watch)
            except _Refused as refused:
                tried.append(f"{url}: {refused}")
            else:
                return path
    except OSError as error:
        reason = error.strerror or str(error)
        megabytes = max(1, round(file.size / 1e6))
        raise FileError(say("datasets.cannot_keep", path=path, reason=reason, megabytes=megabytes)) from None
    raise FileError(say("datasets.not_downloaded", name=name, file=file.name, tried="; ".join(tried), page=page))


def _download(file: Download, url: str, path: Path, watch: Watch | None) -> None:
    """Raises: _Refused where this address does not send the file, OSError where it cannot be kept."""
    if watch is not None:
        watch.begin(file, url, path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as opened:
        received = _Received(opened, file, watch)
        _request(url, received)
        received.check()


class _Received:
    """The file that pooch writes to: counts, hashes, and stops where it cannot become the right file."""

    def __init__(self, opened: IO[bytes], file: Download, watch: Watch | None):
        self.opened, self.file, self.watch = opened, file, watch
        self.count = 0
        self.digest = hashlib.sha256()
        self.start = b""
        self.began = time.monotonic()

    def write(self, piece: bytes) -> None:
        if not self.count:
            self.start = piece[:64].lstrip().lower()
        self.count += len(piece)
        if self.count > self.file.size:
            raise _Refused(self._wrong("too_long"))
        seconds = time.monotonic() - self.began
        if seconds > PATIENCE_SECONDS and self.count < SLOWEST * seconds:
            raise _Refused(say("datasets.too_slow"))
        self.digest.update(piece)
        self.opened.write(piece)
        if self.watch is not None:
            self.watch.advance(len(piece))

    def flush(self) -> None:
        """pooch asks for it after each piece; `with` does it once."""

    def check(self) -> None:
        """Raises: _Refused for another file than the published one."""
        if self.count != self.file.size:
            raise _Refused(self._wrong("too_short"))
        if self.digest.hexdigest() != self.file.sha256:
            raise _Refused(self._wrong("wrong_sum"))

    def _wrong(self, key: str) -> str:
        """A page that asks to log in comes with status 200: that is the likelier reason, whatever its length."""
        if self.start.startswith(WEB_PAGE):
            return say("datasets.web_page")
        return say(f"datasets.{key}", came=self.count, wanted=self.file.size)


def _request(url: str, received: _Received) -> None:
    """Raises: _Refused."""
    import pooch
    import requests

    downloader: Callable[..., Any] = pooch.HTTPDownloader(
        chunk_size=PIECE_BYTES,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        # A server that knows .gz may call it the encoding, and the client would unpack it.
        headers={"Accept-Encoding": "identity", "User-Agent": "chainrule"},
        hooks={"response": lambda response, **_: _look_at(response, received.file)},
    )
    try:
        downloader(url, received, None)
    except requests.HTTPError as error:
        code = "–" if error.response is None else error.response.status_code
        raise _Refused(say("datasets.status", code=code)) from None
    except requests.Timeout:
        raise _Refused(say("datasets.timed_out")) from None
    except requests.ConnectionError as error:
        # A server that falls silent in the middle is a ConnectionError for requests, too.
        slow = "timed out" in str(error).lower()
        key = "datasets.timed_out" if slow else "datasets.broke_off" if received.count else "datasets.no_connection"
        raise _Refused(say(key, host=urlsplit(url).netloc) if key.endswith("no_connection") else say(key)) from None
    except requests.exceptions.ChunkedEncodingError:
        raise _Refused(say("datasets.broke_off")) from None
    except requests.RequestException as error:  # too many redirects, an address that is none
        raise _Refused(say("datasets.odd_answer", kind=type(error).__name__)) from None


def _look_at(response: Any, file: Download) -> None:
    """Before the first byte: a length that is another file's. Raises: _Refused."""
    if response.is_redirect or not response.ok:
        return
    declared = response.headers.get("Content-Length", "")
    kind = response.headers.get("Content-Type", "").lower()
    right = not declared.isdigit() or int(declared) == file.size
    if kind.startswith("text/html") and not right:
        raise _Refused(say("datasets.web_page"))
    if not right:
        key = "datasets.too_long" if int(declared) > file.size else "datasets.too_short"
        raise _Refused(say(key, came=int(declared), wanted=file.size))
