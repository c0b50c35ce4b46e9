"""Images on the command line: data sets by name, folders of image files by class, IDX files."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.data.datasets import published
from chainrule.interfaces.cli import main
from chainrule.interfaces.images import ImageNote, keep_note, note_of
from tests.data.published_files import idx, publish, publish_emnist, serving

SLOW_TWIN = ("--engine", "interpreter", "--hidden", "4", "--activation", "tanh", "--epochs", "2")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder of its own, in English."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")


def call(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def trained(capsys, *arguments) -> dict:
    """What `train --json` reports of a run of two epochs."""
    code, out, err = call(capsys, "train", *SLOW_TWIN, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def an_image(place: int, seed: int, shape=(6, 8)) -> np.ndarray:
    """Grey noise, with a bright third: which one tells the class."""
    image = np.random.default_rng(seed).integers(0, 80, shape, dtype=np.uint8)
    third = shape[1] // 3
    image[:, place * third : (place + 1) * third] += 150
    return image


def photos(folder: Path, count: int = 20, first: int = 0, classes=("left", "middle", "right")) -> Path:
    """`count` images of each class, 6 × 8 pixels."""
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(first, first + count):
            Image.fromarray(an_image(place, 100 * k + place)).save(folder / name / f"{k}.png")
    return folder


def model_of(report: dict) -> Path:
    return Path(report["model"])


# folders


def test_a_folder_of_classes_is_trained_on_and_answers_by_their_names(capsys):
    photos(Path("photos"), 40)
    (Path("photos") / "readme.txt").write_text("not an image, and not in a class")
    (Path("photos") / "middle" / "._0.png").write_text("what macOS leaves beside a file")
    report = trained(capsys, "photos", "--epochs", 30)
    assert report["samples"] == 96  # of 120, the default shares
    assert report["test"]["accuracy"] == 1
    for place, name in enumerate(("left", "middle", "right")):
        Image.fromarray(an_image(place, 9_000 + place)).save(f"{name}.png")
    code, out, _ = call(capsys, "predict", model_of(report), "right.png", "left.png", "--json")
    assert code == 0
    assert [(row["index"], row["prediction"]) for row in json.loads(out)] == [
        ("right.png", "right"),
        ("left.png", "left"),
    ]
    code, out, _ = call(capsys, "predict", model_of(report), "photos/middle", "--json", "--index", "0")
    assert {row["prediction"] for row in json.loads(out)} == {"middle"}
    assert len(json.loads(out)) == 40
    code, out, _ = call(capsys, "evaluate", model_of(report), "photos", "--json")
    assert json.loads(out)["samples"] == 120
    assert json.loads(out)["accuracy"] > 0.97


def test_what_is_seen_is_what_the_files_hold(capsys):
    """The oracle reads the files with Pillow, and asks the model of the run as Python would."""
    photos(Path("photos"))
    report = trained(capsys, "photos", "--split", "0.5,0.5")
    files = sorted(Path("photos").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(f)) for f in files]).reshape(len(files), -1)
    labels = np.array([("left", "middle", "right").index(f.parent.name) for f in files])
    network = cr.load(model_of(report))
    expected = network.evaluate(pixels, labels)
    _, out, _ = call(capsys, "evaluate", model_of(report), "photos", "--json")
    told = json.loads(out)
    assert (told["loss"], told["accuracy"]) == pytest.approx((expected["loss"], expected["accuracy"]))
    # Pixels go in as they are: the equation that scales them is in the model.
    assert "pixels[i] / 255" in network.formulas


def test_parts_have_folders_of_their_own(capsys):
    photos(Path("data/train"))
    photos(Path("data/test"), 5, first=50)
    photos(Path("data/val"), 7, first=60, classes=("left", "middle"))
    report = trained(capsys, "data")
    assert report["samples"] == 60
    assert report["train"].keys() >= {"val_loss"}
    _, out, err = call(capsys, "train", "data", *SLOW_TWIN)
    assert "test, 15 images" in out
    assert "by class: left 20, middle 20, right 20" in err
    _, out, _ = call(capsys, "evaluate", model_of(report), "data", "--json")
    assert json.loads(out)["samples"] == 15
    _, out, _ = call(capsys, "evaluate", model_of(report), "data", "--split", "train", "--json")
    assert json.loads(out)["samples"] == 60


def test_a_part_without_the_first_class_keeps_the_numbers_of_the_others(capsys):
    """Classes are matched by name: data/test has only the last one, which is number 0 of its own folder."""
    photos(Path("data/train"), 40)
    for k in range(5):
        Path("data/test/right").mkdir(parents=True, exist_ok=True)
        Image.fromarray(an_image(2, 70_000 + k)).save(f"data/test/right/{k}.png")
    assert trained(capsys, "data", "--epochs", 30)["test"]["accuracy"] == 1


def test_streamed_or_in_memory_the_weights_are_the_same_to_the_bit(capsys):
    photos(Path("photos"))
    options = ("photos", "--image-size", "120x110", "--seed", 3)
    whole = trained(capsys, *options)
    code, _, err = call(capsys, "train", *options, *SLOW_TWIN, "--memory", "1MiB", "--out", "streamed")
    assert code == 0
    assert "every epoch reads them again" in err
    assert Path("streamed/model.safetensors").read_bytes() == model_of(whole).read_bytes()
    before, after = (
        json.loads(call(capsys, "evaluate", model_of(whole), "photos", "--json", *more)[1])
        for more in ((), ("--memory", "1MiB"))
    )
    assert before["loss"] == pytest.approx(after["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("input image[r, c]\np[k] = softmax[k](sum[r, c](image[r, c]*W[r, c, k]))\nparameter W[r, c, k] = zeros", 48),
        ("input x[i]\np[k] = softmax[k](sum[i](x[i]*W[i, k]))\nparameter W[i, k] = zeros", 48),
        (
            "input image[r, c, q]\np[k] = softmax[k](sum[r, c, q](image[r, c, q]*W[r, c, q, k]))\n"
            "parameter W[r, c, q, k] = zeros",
            144,
        ),
    ],
)
def test_formulas_of_ones_own_read_images_by_their_indices_or_flat(capsys, text, inputs):
    photos(Path("photos"))
    Path("own.formula").write_text(text + "\ntarget t[k]\nE = -sum[k](t[k]*log(p[k]))\n")
    colours = ("--rgb",) if inputs == 144 else ()
    code, _, err = call(
        capsys, "train", "photos", "--network", "own.formula", "--engine", "interpreter", "--epochs", 1, *colours
    )
    assert code == 0, err
    network = cr.load("runs/own/model.safetensors")
    assert network.parameters["W"].size == 3 * inputs
    code, out, _ = call(capsys, "predict", "runs/own/model.safetensors", "photos/left/0.png", "--json")
    assert (code, json.loads(out)[0]["prediction"]) == (0, "left")


def test_colours_are_seen_and_grey_can_be_asked_for(capsys):
    for name, colour in (("red", 0), ("blue", 2)):
        Path("paint", name).mkdir(parents=True)
        for k in range(15):
            pixels = np.random.default_rng(k).integers(0, 60, (5, 5, 3), dtype=np.uint8)
            pixels[..., colour] += 150
            Image.fromarray(pixels).save(f"paint/{name}/{k}.png")
    report = trained(capsys, "paint", "--epochs", 40)
    assert report["test"]["accuracy"] == 1
    network = cr.load(model_of(report))
    assert network.parameters["W1"].shape[0] == 75
    assert note_of(network, model_of(report)) == ImageNote((5, 5, 3), ("blue", "red"))
    assert cr.load(model_of(trained(capsys, "paint", "--grey"))).parameters["W1"].shape[0] == 25


def test_sizes_are_the_models_or_refused(capsys):
    photos(Path("photos"))
    Image.fromarray(an_image(0, 5, (12, 16))).save("large.png")
    own, resized = trained(capsys, "photos"), trained(capsys, "photos", "--image-size", "3x4")
    code, _, err = call(capsys, "predict", model_of(own), "large.png")
    assert code == 1
    assert err == (
        "large.png has another size than the images that the model was trained on, 6×8: "
        "resize it, or train again with --image-size, which resizes all\n"
    )
    code, out, _ = call(capsys, "predict", model_of(resized), "large.png", "--json")
    assert code == 0
    smaller = np.asarray(Image.open("large.png").resize((4, 3), Image.Resampling.BILINEAR))
    expected = cr.load(model_of(resized)).predict(smaller.reshape(1, 12))
    assert json.loads(out)[0]["output"] == pytest.approx(expected[0].tolist())


def test_class_weights_go_by_name(capsys):
    photos(Path("photos"))
    one, other = (trained(capsys, "photos", *w) for w in ((), ("--class-weight", "left=5,right=0")))
    assert model_of(one).read_bytes() != model_of(other).read_bytes()
    code, _, err = call(capsys, "train", "photos", "--class-weight", "lef=5")
    assert code == 1
    assert "there is no class lef" in err


WRONG = {
    "empty": (["train", "empty"], "empty has no folders with images in them"),
    "one_class": (["train", "single"], "single has the class a only: give at least two"),
    "no_image": (["train", "junk"], "junk/b/1.png is not a whole PNG, JPEG or BMP image"),
    "sizes": (["train", "mixed"], "mixed/b/1.png has 3×3 pixels, and the others 6×8"),
    "new_class": (["train", "parts"], "parts/test has the class up, which the training images have not"),
    "twice": (["train", "double"], "double/test and double/t10k are the same part of the data"),
    "target": (["train", "photos", "--target", "x"], "--target says nothing of photos: leave it out"),
    "labels": (["train", "photos", "--labels", "x"], "--labels says nothing of photos: leave it out"),
    "size": (["train", "photos", "--image-size", "0x4"], "--image-size came as 0x4: give rows x columns"),
    "colours": (["train", "photos", "--grey", "--rgb"], "--grey and --rgb came together"),
    "named": (["train", "mnist", "--rgb"], "--rgb says nothing of mnist: leave it out"),
    "table": (["train", "a.csv", "--image-size", "3x3"], "--image-size says nothing of a.csv"),
    "embedded": (["train", "mnist", "--data-dir", "."], "mnist is in the package and has no files to look for"),
    "validation": (["train", "photos", "--validation", "a.csv"], "--validation FILE is for tables"),
    "split": (["train", "photos", "--split", "0.5,0.5", "--validation", "0.1"], "--split came together with"),
    "rows": (["train", "photos", "--rows", "61"], "rows came as 61"),
    "memory": (["train", "photos", "--memory", "3"], "memory is a size such as"),
    "absent": (["train", "absent/"], "there is no data set absent/"),
    "unlabelled": (["train", "alone/train-images-idx3-ubyte"], "there are no labels beside alone/train-images-idx3"),
    "folder": (["train", "alone"], "alone has no IDX file of labels beside train-images-idx3-ubyte"),
    "are_labels": (["train", "swapped/train-labels-idx1-ubyte"], "is a file of labels: name the file of the images"),
    "counts": (["train", "short"], "train-labels-idx1-ubyte holds uint8 (3), and 6 labels are needed"),
    "many": (["train", "many"], "may both be meant: name the file of the images"),
    "test_labels": (
        ["train", "short/train-images-idx3-ubyte", "--test-labels", "x"],
        "--test-labels came without --test: give both",
    ),
}


@pytest.fixture
def mess():
    """Folders with something wrong in each."""
    photos(Path("photos"))
    photos(Path("parts/train"), 2)
    photos(Path("parts/test"), 2, classes=("left", "up"))
    for name in ("train", "test", "t10k"):
        photos(Path("double", name), 1)
    Path("empty").mkdir()
    for folder in ("single", "junk", "mixed"):
        photos(Path(folder), 3, classes=("a",) if folder == "single" else ("a", "b"))
    Path("junk/b/1.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save("mixed/b/1.png")
    Path("a.csv").write_text("a,b\n1,2\n")
    images, labels = np.zeros((6, 4, 4)), np.arange(3)
    for folder in ("alone", "swapped", "short", "many"):
        Path(folder).mkdir()
        Path(folder, "train-images-idx3-ubyte").write_bytes(idx(images))
    for folder in ("swapped", "short", "many"):
        Path(folder, "train-labels-idx1-ubyte").write_bytes(idx(labels))
    Path("many/more-images-idx3-ubyte").write_bytes(idx(images))


@pytest.mark.parametrize("case", WRONG)
def test_one_line_says_what_is_wrong(capsys, mess, case):
    arguments, message = WRONG[case]
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert len([line for line in err.splitlines() if message in line]) == 1
    assert not Path("runs").exists()


# IDX


def idx_folder(folder: Path, parts=(("train", 60), ("t10k", 15)), pack=lambda content: content, suffix="") -> None:
    """MNIST's files in small, with three classes."""
    folder.mkdir()
    for part, count in parts:
        images = np.stack([an_image(k % 3, 500 + k) for k in range(count)])
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(count) % 3)))


@pytest.mark.parametrize("pack", [(bytes, ""), (gzip.compress, ".gz"), (lzma.compress, ".xz")], ids=["", "gz", "xz"])
def test_a_folder_of_the_four_files_of_idx(capsys, pack):
    idx_folder(Path("digits"), pack=pack[0], suffix=pack[1])
    report = trained(capsys, "digits", "--epochs", 30)
    assert (report["samples"], report["test"]["accuracy"]) == (54, 1)
    _, out, _ = call(capsys, "predict", model_of(report), f"digits/t10k-images-idx3-ubyte{pack[1]}", "--json")
    assert [row["prediction"] for row in json.loads(out)] == [k % 3 for k in range(15)]
    for data in ("digits", f"digits/t10k-images-idx3-ubyte{pack[1]}"):
        _, out, _ = call(capsys, "evaluate", model_of(report), data, "--json")
        assert (json.loads(out)["samples"], json.loads(out)["accuracy"]) == (15, 1)


def test_files_of_idx_by_their_names(capsys):
    idx_folder(Path("digits"))
    one = trained(capsys, "digits/train-images-idx3-ubyte")  # the labels are found, and the test is drawn
    assert one["samples"] == 48
    two = trained(
        capsys, "digits/train-images-idx3-ubyte", "--test", "digits/t10k-images-idx3-ubyte", "--validation", "0.1"
    )
    assert two["samples"] == 54
    os.rename("digits/train-labels-idx1-ubyte", "answers.bin.idx")
    three = trained(capsys, "digits/train-images-idx3-ubyte", "--labels", "answers.bin.idx")
    assert model_of(three).read_bytes() == model_of(one).read_bytes()


def test_the_files_of_mnist_train_as_mnist_does(capsys):
    """The same rows in the same order, by name and from IDX files: the same weights."""
    digits = cr.datasets.mnist()
    Path("files").mkdir()
    for part, split in (("train", digits.train), ("t10k", digits.test)):
        Path("files", f"{part}-images-idx3-ubyte").write_bytes(idx(split.images[:300].reshape(-1, 28, 28)))
        Path("files", f"{part}-labels-idx1-ubyte").write_bytes(idx(split.labels[:300]))
    options = ("--batch-size", 20, "--optimizer", "sgd")
    named = trained(capsys, "mnist", "--rows", 300, *options)
    own = trained(capsys, "files", "--validation", "0", *options)
    one, other = (cr.load(model_of(report)).parameters for report in (named, own))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


# data sets by name


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Fashion-MNIST and EMNIST in small, published on this machine."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_DATA_DIR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as found:
        small, arrays = publish(found)
        digits, letters, _ = publish_emnist(found)
        monkeypatch.setattr(published, "FASHION_MNIST", small)
        monkeypatch.setattr(published, "EMNIST_DIGITS", digits)
        monkeypatch.setattr(published, "EMNIST_LETTERS", letters)
        found.arrays = arrays
        yield found


def test_a_data_set_by_name_is_downloaded_trained_on_and_named(capsys, site):
    code, out, err = call(capsys, "train", "fashion_mnist", *SLOW_TWIN, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["samples"] == 50
    assert report["run"] == "runs/fashion-mnist-4"
    lines = [line for line in err.splitlines() if "is downloaded from" in line]
    assert len(lines) == 4
    assert "train-images-idx3-ubyte.gz (1 MB) is downloaded from 127.0.0.1:" in lines[0]
    # What the model was trained on is what it predicts where nothing else is named.
    code, out, err = call(capsys, "predict", report["model"], "--index", "0..4", "--json")
    rows = json.loads(out)
    assert (code, "downloaded" in err) == (0, False)
    names = published.FASHION_MNIST.class_names
    assert [row["label"] for row in rows] == [names[label] for label in site.arrays[3][:5]]
    assert {row["prediction"] for row in rows} <= set(names)
    code, out, _ = call(capsys, "evaluate", report["model"], "--json")
    assert json.loads(out)["data"] == "fashion-mnist"
    assert call(capsys, "train", "fashion-mnist", *SLOW_TWIN, "--class-weight", "T-shirt/top=2,Bag=0")[0] == 0


def test_letters_are_named(capsys, site):
    report = trained(capsys, "emnist-letters")
    _, out, _ = call(capsys, "predict", report["model"], "--index", "0..3", "--json")
    assert all(row["label"] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for row in json.loads(out))
    report = trained(capsys, "emnist-digits")
    _, out, _ = call(capsys, "predict", report["model"], "--index", "0", "--json")
    assert isinstance(json.loads(out)[0]["prediction"], int)


def test_files_that_are_there_are_used(capsys, site, monkeypatch):
    Path("by hand").mkdir()
    for file in published.FASHION_MNIST.downloads:
        (Path("by hand") / file.name).write_bytes(site.answers[f"/first/{file.name}"])
    report = trained(capsys, "fashion-mnist", "--data-dir", "by hand")
    code, out, _ = call(capsys, "evaluate", report["model"], "--data-dir", "by hand", "--json")
    assert (code, json.loads(out)["samples"]) == (0, 20)
    code, _, err = call(capsys, "predict", report["model"], "--data-dir", "elsewhere")
    assert (code, "elsewhere has no file train-images-idx3-ubyte.gz of fashion-mnist" in err) == (1, True)
    monkeypatch.setenv("CHAINRULE_DATA_DIR", "by hand")
    assert call(capsys, "evaluate", report["model"])[0] == 0
    (images, labels), (test_images, _) = cr.datasets.fashion_mnist.load_data()
    assert (images.shape, labels.shape, test_images.shape) == ((50, 28, 28), (50,), (20, 28, 28))
    np.testing.assert_array_equal(images, site.arrays[0])
    assert site.asked == []


def test_what_cannot_be_had_is_one_line(capsys, site):
    site.answers.clear()
    code, out, err = call(capsys, "train", "emnist-digits")
    assert (code, out) == (1, "")
    assert "gzip.zip of emnist-digits could not be downloaded" in err.splitlines()[-1]
    assert "the server answered 404" in err.splitlines()[-1]
    assert not Path("runs").exists()


def test_the_list_says_what_is_there(capsys, site):
    _, out, _ = call(capsys, "datasets", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert list(rows) == ["mnist", "fashion-mnist", "kmnist", "emnist-digits", "emnist-letters"]
    assert (rows["mnist"]["there"], rows["fashion-mnist"]["there"]) == (True, False)
    assert rows["kmnist"] == {
        "name": "kmnist",
        "train": 60_000,
        "test": 10_000,
        "shape": [28, 28],
        "classes": 10,
        "there": False,
        "bytes": 18_165_135 + 29_497 + 3_041_136 + 5_120,
    }
    cr.datasets.fashion_mnist()
    _, out, _ = call(capsys, "datasets")
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("(in the package)")
    assert lines[1].endswith("(downloaded)")
    assert lines[2].endswith("(22 MB to download)")


def test_a_model_of_ones_own_images_does_not_guess_a_data_set(capsys):
    photos(Path("photos"))
    code, _, err = call(capsys, "predict", model_of(trained(capsys, "photos")))
    assert (code, "name a file or a folder, or a data set with --data" in err) == (1, True)


# the note in the model file


@pytest.mark.parametrize(
    "kept",
    [
        7,
        [],
        {},
        {"shape": [28], "classes": [], "data": None, "resized": False},
        {"shape": [28, -1], "classes": [], "data": None, "resized": False},
        {"shape": [28, 28, 4], "classes": [], "data": None, "resized": False},
        {"shape": [True, True], "classes": [], "data": None, "resized": False},
        {"shape": [28, 28], "classes": "abc", "data": None, "resized": False},
        {"shape": [28, 28], "classes": [1], "data": None, "resized": False},
        {"shape": [28, 28], "classes": ["a" * 2000], "data": None, "resized": False},
        {"shape": [28, 28], "classes": [], "data": 5, "resized": False},
        {"shape": [28, 28], "classes": []},
    ],
)
def test_a_note_that_is_damaged_is_a_model_file_error(kept):
    network = cr.formula("input x[i]\ntarget t\nparameter w[i] = zeros\ny = sum[i](w[i]*x[i])\nE = (y - t)**2")
    network.notes["images"] = kept
    with pytest.raises(cr.errors.ModelFileError, match="does not say rightly what its images and classes are"):
        note_of(network, Path("m.safetensors"))
    note = ImageNote((28, 28), ("a", "b"), "kmnist", True)
    keep_note(network, note)
    network.notes = json.loads(json.dumps(network.notes))
    assert note_of(network, Path("m.safetensors")) == note


def test_a_folder_that_must_not_be_listed_is_one_line(tmp_path, capsys, monkeypatch):
    photos(tmp_path / "photos", count=2)

    def refuse(path: Path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert call(capsys, "train", "photos")[::2] == (
        1,
        "photos cannot be read (Permission denied): check the file and who may read it\n",
    )
