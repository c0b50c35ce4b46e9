"""The data sets that are downloaded: where they are published, and the SHA-256 of each file.

The sizes and the sums are those that TensorFlow Datasets pins (tensorflow/datasets, tensorflow_datasets/url_checksums/
fashion_mnist.txt, kmnist.txt and emnist.txt). torchvision's prototype data sets (pytorch/vision, torchvision/prototype/
datasets/_builtin/mnist.py) pin the same sums of Fashion-MNIST and KMNIST, several projects the same sum of EMNIST's
archive. From which address a file came does not matter: only the file with this sum is kept.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file on the network: of `size` bytes, with this SHA-256, at any of the addresses."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A data set of four IDX files: the images and the labels for training, then those of the test.

    They are `members` of an archive where `downloads` is one file, else the downloads themselves. `archived` are all
    members of the archive that any of our data sets needs: they are kept together. EMNIST's images are `transposed`;
    its letters are counted from `first_label`, 1.
    """

    name: str
    folder: str
    page: str
    downloads: tuple[Download, ...]
    members: tuple[str, str, str, str]
    train: int
    test: int
    class_names: tuple[str, ...]
    archived: tuple[str, ...] = ()
    transposed: bool = False
    first_label: int = 0
    side: int = 28


IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _files(sums: tuple[tuple[int, str], ...], bases: tuple[str, ...]) -> tuple[Download, ...]:
    """The four files of IDX, in its order, below each of the base addresses."""
    return tuple(
        Download(name, size, sha256, tuple(base + name for base in bases))
        for name, (size, sha256) in zip(IDX, sums, strict=True)
    )


def _emnist(kind: str) -> tuple[str, str, str, str]:
    names = [
        f"emnist-{kind}-{part}-{what}-ubyte.gz" for part in ("train", "test") for what in ("images-idx3", "labels-idx1")
    ]
    return (names[0], names[1], names[2], names[3])


# Xiao, Rasul & Vollgraf 2017 (MIT). The authors' repository, the address that its README names, and Keras's copy.
FASHION_MNIST = Published(
    "fashion-mnist",
    "fashion-mnist",
    "https://github.com/zalandoresearch/fashion-mnist",
    _files(
        (
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
    ),
    IDX,
    60_000,
    10_000,
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# Clanuwat et al. 2018, ROIS-DS Center for Open Data in the Humanities (CC BY-SA 4.0). The classes are the modern
# hiragana of its kmnist_classmap.csv.
KMNIST = Published(
    "kmnist",
    "kmnist",
    "https://codh.rois.ac.jp/kmnist/",
    _files(
        (
            (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ),
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
    ),
    IDX,
    60_000,
    10_000,
    tuple("おきすつなはまやれを"),
)

# Cohen, Afshar, Tapson & van Schaik 2017, from NIST Special Database 19. The numbers of images are those that
# torchvision and TensorFlow Datasets find in this archive; its letters are more than the article's 88,800 + 14,800.
EMNIST_ARCHIVE = Download(
    "gzip.zip",
    561_753_746,
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    (
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
    ),
)
EMNIST_PAGE = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
EMNIST_MEMBERS = (*_emnist("digits"), *_emnist("letters"))
EMNIST_DIGITS = Published(
    "emnist-digits",
    "emnist",
    EMNIST_PAGE,
    (EMNIST_ARCHIVE,),
    _emnist("digits"),
    240_000,
    40_000,
    DIGITS,
    archived=EMNIST_MEMBERS,
    transposed=True,
)
EMNIST_LETTERS = Published(
    "emnist-letters",
    "emnist",
    EMNIST_PAGE,
    (EMNIST_ARCHIVE,),
    _emnist("letters"),
    124_800,
    20_800,
    LETTERS,
    archived=EMNIST_MEMBERS,
    transposed=True,
    first_label=1,
)
