"""Data sets that are downloaded, from a server on this machine: what arrives, and everything that can go wrong.

The real addresses are not asked: there may be no network where tests run. Their sizes and sums are compared with those
that TensorFlow Datasets has.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import socket
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import whole_files
from chainrule.data.datasets import download, load, load_published, published
from chainrule.data.datasets.published import Download
from chainrule.errors import FileError
from tests.data.published_files import Handler, publish, publish_emnist, send, serving, sum_of

# tensorflow/datasets, tensorflow_datasets/url_checksums/{fashion_mnist,kmnist,emnist}.txt: address, size, SHA-256.
TFDS = """
http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz 4422102 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz 5148 67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz 26421880 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz 29515 a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-images-idx3-ubyte.gz 3041136 edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5
http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-labels-idx1-ubyte.gz 5120 20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c
http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-images-idx3-ubyte.gz 18165135 51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4
http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-labels-idx1-ubyte.gz 29497 e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17
https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip 561753746 fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e
"""  # noqa: E501


@pytest.fixture
def site():
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and no proxy between the test and its server."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_the_pins_are_those_of_tensorflow_datasets():
    ours = {
        url: (file.size, file.sha256)
        for spec in (published.FASHION_MNIST, published.KMNIST, published.EMNIST_DIGITS, published.EMNIST_LETTERS)
        for file in spec.downloads
        for url in file.urls
    }
    theirs = {url: (int(size), digest) for url, size, digest in map(str.split, TFDS.strip().splitlines())}
    assert {url: ours[url] for url in theirs} == theirs
    assert len(set(ours.values())) == len(theirs)


# what arrives


def test_a_data_set_is_downloaded_once_and_is_what_was_published(site, cache):
    spec, arrays = publish(site)
    for _ in range(2):
        data = load_published(spec)
        for split, images, labels in ((data.train, *arrays[:2]), (data.test, *arrays[2:])):
            assert split.images.dtype == split.labels.dtype == np.uint8
            np.testing.assert_array_equal(split.images, images.reshape(len(images), 784))
            np.testing.assert_array_equal(split.labels, labels)
            with pytest.raises(ValueError, match="read-only"):
                split.images[0] = 1
    assert (data.name, data.image_shape, data.classes) == ("fashion-mnist", (28, 28), 10)
    assert data.class_names[0] == "T-shirt/top"
    assert sorted(site.asked) == sorted(f"/first/{file.name}" for file in spec.downloads)
    assert files_in(cache) == sorted(file.name for file in spec.downloads)
    assert load.is_there(spec)


def test_what_is_kept_others_may_read(site, cache):
    umask = os.umask(0)
    os.umask(umask)
    spec, _ = publish(site)
    load_published(spec)
    assert {p.stat().st_mode & 0o777 for p in (cache / "fashion-mnist").iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("damage", [lambda p: os.truncate(p, 100), lambda p: p.unlink(), lambda p: flip(p)])
def test_a_damaged_file_is_downloaded_again_and_no_other(site, cache, damage):
    spec, arrays = publish(site)
    load_published(spec)
    site.asked.clear()
    damage(cache / "fashion-mnist" / spec.downloads[2].name)
    np.testing.assert_array_equal(load_published(spec).test.images, arrays[2].reshape(-1, 784))
    assert site.asked == [f"/first/{spec.downloads[2].name}"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_images_of_emnist_are_set_upright_and_its_letters_counted_from_0(site, cache):
    digits, letters, arrays = publish_emnist(site)
    data = load_published(digits)
    for image, published_image in zip(data.train.images.reshape(-1, 28, 28), arrays["digits"][0], strict=True):
        np.testing.assert_array_equal(image, published_image.T)
    np.testing.assert_array_equal(data.test.labels, arrays["digits"][3])
    data = load_published(letters)
    np.testing.assert_array_equal(data.train.labels, arrays["letters"][1] - 1)
    assert (data.classes, data.class_names[0], data.class_names[-1]) == (26, "A", "Z")
    # One download for both, of which only the eight members that they need are kept.
    assert site.asked == ["/gzip.zip"]
    assert files_in(cache) == sorted([*digits.archived, "SHA256SUMS"])
    flip(cache / "emnist" / digits.members[0])
    load_published(letters)
    assert len(site.asked) == 1
    np.testing.assert_array_equal(load_published(digits).train.labels, arrays["digits"][1])
    assert len(site.asked) == 2


def test_a_member_that_promises_more_than_its_limit_is_not_unpacked(site, cache, monkeypatch):
    digits, _, _ = publish_emnist(site)
    monkeypatch.setattr(load, "MAX_MEMBER_BYTES", 1000)
    with pytest.raises(FileError, match="emnist-digits do not hold what they should"):
        load_published(digits)
    assert files_in(cache) == ["gzip.zip"]


def test_files_of_the_right_sum_with_the_wrong_content_are_refused(site):
    spec, _ = publish(site)
    with pytest.raises(FileError, match="fashion-mnist do not hold what they should"):
        load_published(replace(spec, train=spec.train + 1))


# what a server may do


def first_answers(site, spec, answer) -> None:
    for file in spec.downloads:
        site.answers[f"/first/{file.name}"] = answer


def not_gz(handler: Handler) -> None:
    send(handler, b"<!DOCTYPE html><html>Log in to the network</html>", "text/html")


def page_of_the_right_length(length: int):
    return lambda handler: send(handler, b"<html>".ljust(length), "text/plain")


def endless(handler: Handler) -> None:
    """No length declared, and no end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"\x1f\x8b" + bytes(65_534))
    except OSError:
        pass


def breaks_off(handler: Handler) -> None:
    send(handler, b"\x1f\x8b\0", declared=handler.server.length)


def hangs(handler: Handler) -> None:
    time.sleep(3)


def hangs_in_the_middle(handler: Handler) -> None:
    breaks_off(handler)
    handler.wfile.flush()
    time.sleep(3)


def in_a_circle(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def to_a_page(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/login")
    handler.end_headers()


CASES = {
    "404": (None, "the server answered 404"),
    "503": (lambda handler: handler.send_error(503), "the server answered 503"),
    "page": (not_gz, "the server sent a web page instead of the file"),
    "redirect": (to_a_page, "the server sent a web page instead of the file"),
    "endless": (endless, "the server sent more than the {size} bytes of the file"),
    "breaks_off": (breaks_off, "the connection broke off"),
    "short": (lambda handler: send(handler, b"\x1f\x8b\0"), "the server sent 3 of {size} bytes"),
    "hangs": (hangs, "no answer in time"),
    "hangs_later": (hangs_in_the_middle, "no answer in time"),
    "in_a_circle": (in_a_circle, "an answer that makes no sense (TooManyRedirects)"),
    "empty": (lambda handler: send(handler, b""), "the server sent 0 of {size} bytes"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_address_answers_wrongly_is_said_and_the_next_is_tried(site, cache, monkeypatch, case):
    monkeypatch.setattr(download, "READ_SECONDS", 0.3)
    spec, arrays = publish(site)
    answer, reason = CASES[case]
    size = spec.downloads[0].size
    site.answers["/login"] = not_gz
    first = with_length(answer, size)
    site.answers[f"/first/{spec.downloads[0].name}"] = first
    data = load_published(spec)
    np.testing.assert_array_equal(data.train.images, arrays[0].reshape(-1, 784))
    shutil.rmtree(cache)
    site.answers[f"/second/{spec.downloads[0].name}"] = first
    with pytest.raises(FileError) as caught:
        load_published(spec)
    reason = reason.format(size=size)
    name = spec.downloads[0].name
    assert str(caught.value) == (
        f"{name} of fashion-mnist could not be downloaded ({site.address}/first/{name}: {reason}; "
        f"{site.address}/second/{name}: {reason}): try again later, or download it by hand from "
        "https://github.com/zalandoresearch/fashion-mnist and name its folder with --data-dir FOLDER "
        "(data_dir= in Python)"
    )
    assert caught.value.__cause__ is None
    assert files_in(cache) == []


def with_length(answer, size: int):
    """The answer, told how long the file would be."""
    if answer is None:
        return lambda handler: handler.send_error(404)

    def told(handler: Handler) -> None:
        handler.server.length = size
        answer(handler)

    return told


def test_another_file_of_the_same_length_is_not_kept(site, cache):
    spec, _ = publish(site)
    file = spec.downloads[0]
    wrong = bytearray(site.answers[f"/first/{file.name}"])
    wrong[1000] ^= 1
    site.answers |= {f"/{base}/{file.name}": bytes(wrong) for base in ("first", "second")}
    with pytest.raises(FileError, match="a file with another SHA-256, which was not kept"):
        load_published(spec)
    site.answers |= {f"/{b}/{file.name}": page_of_the_right_length(file.size) for b in ("first", "second")}
    with pytest.raises(FileError, match="a web page instead of the file"):
        load_published(spec)
    assert files_in(cache) == []


def test_a_server_that_calls_gzip_the_encoding_gives_the_same_file(site):
    """Apache may send .gz files as Content-Encoding: gzip, which clients unpack."""
    spec, arrays = publish(site)

    def encoded(content: bytes):
        def answer(handler: Handler) -> None:
            if "gzip" in handler.headers.get("Accept-Encoding", ""):
                handler.send_response(200)
                handler.send_header("Content-Encoding", "gzip")
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                handler.wfile.write(content)
            else:
                send(handler, content)

        return answer

    for file in spec.downloads:
        site.answers[f"/first/{file.name}"] = encoded(site.answers[f"/first/{file.name}"])
    np.testing.assert_array_equal(load_published(spec).train.images, arrays[0].reshape(-1, 784))
    assert not any("second" in path for path in site.asked)


def test_without_a_network_the_way_by_hand_is_told(cache):
    with socket.socket() as taken:  # a port that is bound and does not listen refuses connections
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        file = Download("a.gz", 10, "0" * 64, (f"{address}/a.gz", "http://nowhere.invalid/a.gz"))
        with pytest.raises(FileError) as caught:
            download.fetch(file, "kmnist", "https://codh.rois.ac.jp/kmnist/", cache)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{address}/a.gz: no connection to 127.0.0.1" in message
    assert "http://nowhere.invalid/a.gz: no connection to nowhere.invalid" in message
    assert "by hand from https://codh.rois.ac.jp/kmnist/ and name its folder with --data-dir" in message


def test_a_full_disk_is_said_at_once(site, cache, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec, _ = publish(site)
    monkeypatch.setattr(whole_files.os, "fsync", refuse)
    with pytest.raises(FileError) as caught:
        load_published(spec)
    path = cache / "fashion-mnist" / spec.downloads[0].name
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device): 1 MB are needed there; "
        "make room, or name another cache folder by CHAINRULE_CACHE"
    )
    assert files_in(cache) == []
    assert len(site.asked) == 1


def test_a_file_where_the_folder_should_be(site, cache):
    spec, _ = publish(site)
    cache.write_text("in the way")
    with pytest.raises(FileError, match=re.escape(str(cache)) + r".* cannot be written \(Not a directory\)"):
        load_published(spec)


def test_a_stop_by_ctrl_c_leaves_nothing_behind(site, cache):
    spec, _ = publish(site)

    class Stops:
        def begin(self, file, url, folder):
            pass

        def advance(self, count):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_published(spec, watch=Stops())
    assert files_in(cache) == []


def test_who_watches_is_told_of_every_byte(site, cache):
    spec, _ = publish(site)
    told = []

    class Watches:
        def begin(self, file, url, folder):
            told.append([file.name, url, folder, 0])

        def advance(self, count):
            told[-1][3] += count

    load_published(spec, watch=Watches())
    folder = cache / "fashion-mnist"
    assert told == [[f.name, f"{site.address}/first/{f.name}", folder, f.size] for f in spec.downloads]


# files that are there


def a_folder(site, spec, folder: Path) -> Path:
    folder.mkdir()
    for file in spec.downloads:
        answer = site.answers.get(f"/first/{file.name}", site.answers.get(f"/{file.name}"))
        (folder / file.name).write_bytes(answer)
    return folder


def test_a_folder_of_files_is_used_as_it_is(site, cache, tmp_path):
    spec, arrays = publish(site)
    folder = a_folder(site, spec, tmp_path / "by hand")
    np.testing.assert_array_equal(load_published(spec, folder).test.labels, arrays[3])
    assert load_published(spec, str(folder)).name == "fashion-mnist"
    digits, _, own = publish_emnist(site)
    folder = a_folder(site, digits, tmp_path / "emnist")
    folder.chmod(0o500)
    np.testing.assert_array_equal(load_published(digits, folder).test.labels, own["digits"][3])
    folder.chmod(0o700)
    assert (site.asked, files_in(cache), files_in(folder)) == ([], [], ["gzip.zip"])


def test_a_folder_with_another_or_no_file_is_refused(site, tmp_path):
    spec, _ = publish(site)
    folder = a_folder(site, spec, tmp_path / "by hand")
    (folder / spec.downloads[1].name).write_bytes(b"other")
    with pytest.raises(FileError) as caught:
        load_published(spec, folder)
    assert str(caught.value) == (
        f"{folder / spec.downloads[1].name} is not the file that fashion-mnist was published with "
        f"(SHA-256 {sum_of(b'other')}, and {spec.downloads[1].sha256} is wanted): "
        "download it again from https://github.com/zalandoresearch/fashion-mnist"
    )
    (folder / spec.downloads[1].name).unlink()
    with pytest.raises(FileError, match=rf"by hand has no file {spec.downloads[1].name} of fashion-mnist: download it"):
        load_published(spec, folder)
    with pytest.raises(FileError, match="absent has no file"):
        load_published(spec, tmp_path / "absent")
    assert site.asked == []


def test_a_file_in_place_of_a_folder_is_refused(site, tmp_path):
    spec, _ = publish(site)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot be read \(Not a directory\)"):
        load_published(spec, tmp_path / "file")


def test_an_archive_that_is_damaged_inside_is_refused(site, cache, tmp_path):
    digits, _, _ = publish_emnist(site)
    content = b"PK\x05\x06" + bytes(18)  # a zip without members
    assert zipfile.is_zipfile(io.BytesIO(content))
    site.answers["/gzip.zip"] = content
    file = replace(digits.downloads[0], size=len(content), sha256=sum_of(content))
    with pytest.raises(FileError, match="do not hold what they should"):
        load_published(replace(digits, downloads=(file,)))


def test_a_full_disk_while_members_are_unpacked(site, cache, tmp_path, monkeypatch):
    digits, _, _ = publish_emnist(site)
    folder = a_folder(site, digits, tmp_path / "emnist")

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, "fsync", refuse)
    with pytest.raises(FileError, match=r"cannot be written \(No space left on device\): 100 MB are needed there"):
        load_published(digits, folder)
    assert files_in(folder) == ["gzip.zip"]
