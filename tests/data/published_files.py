"""Small data sets that are published like the real ones, and a server on this machine that publishes them."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.data.datasets.published import EMNIST_DIGITS, EMNIST_LETTERS, FASHION_MNIST, Download, Published

TRAIN, TEST = 50, 20
Handler = http.server.BaseHTTPRequestHandler


def idx(array: np.ndarray) -> bytes:
    """The format of http://yann.lecun.com/exdb/mnist, written from its description."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def four_files(seed: int = 0, classes: int = 10, first: int = 0) -> tuple[list[np.ndarray], list[bytes]]:
    """(arrays, gzipped IDX files): images and labels for training, then those of the test."""
    random = np.random.default_rng(seed)
    arrays = []
    for count in (TRAIN, TEST):
        arrays += [random.integers(0, 256, (count, 28, 28)), random.permutation(count) % classes + first]
    return arrays, [gzip.compress(idx(array), mtime=0) for array in arrays]


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Site:
    """What the server answers, by path: bytes, or a function that writes the answer itself; and what was asked for."""

    address: str
    answers: dict[str, bytes | Callable[[Handler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Site]:
    """A server on a free port of this machine, until the block ends."""

    class Answer(Handler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            answer = site.answers.get(self.path)
            if callable(answer):
                answer(self)
            elif answer is None:
                self.send_error(404)
            else:
                send(self, answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: Handler, content: bytes, kind: str = "application/octet-stream", declared: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    if declared != -1:
        handler.send_header("Content-Length", str(len(content) if declared is None else declared))
    handler.end_headers()
    handler.wfile.write(content)


def publish(site: Site, seed: int = 0) -> tuple[Published, list[np.ndarray]]:
    """Fashion-MNIST in small, at two addresses of the site, /first/… and /second/…; and the arrays it must give."""
    arrays, contents = four_files(seed)
    downloads = []
    for old, content in zip(FASHION_MNIST.downloads, contents, strict=True):
        urls = tuple(f"{site.address}/{base}/{old.name}" for base in ("first", "second"))
        downloads.append(Download(old.name, len(content), sum_of(content), urls))
        site.answers |= {f"/{base}/{old.name}": content for base in ("first", "second")}
    return replace(FASHION_MNIST, downloads=tuple(downloads), train=TRAIN, test=TEST), arrays


def publish_emnist(site: Site) -> tuple[Published, Published, dict[str, list[np.ndarray]]]:
    """(digits, letters) of one archive, whose images lie on their side, beside a member that nobody needs."""
    made = {"digits": four_files(1), "letters": four_files(2, 26, 1)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("gzip/emnist-byclass-train-images-idx3-ubyte.gz", b"\0" * 1000)
        for spec, kind in ((EMNIST_DIGITS, "digits"), (EMNIST_LETTERS, "letters")):
            for member, content in zip(spec.members, made[kind][1], strict=True):
                archive.writestr(f"gzip/{member}", content)
    content = packed.getvalue()
    site.answers["/gzip.zip"] = content
    download = Download("gzip.zip", len(content), sum_of(content), (f"{site.address}/gzip.zip",))
    digits, letters = (
        replace(spec, downloads=(download,), train=TRAIN, test=TEST) for spec in (EMNIST_DIGITS, EMNIST_LETTERS)
    )
    return digits, letters, {kind: arrays for kind, (arrays, _) in made.items()}
