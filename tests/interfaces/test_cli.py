"""The command line: results, complaints and exit codes, in both languages."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib import resources
from pathlib import Path
from string import Formatter

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import chainrule as cr
from chainrule.interfaces.cli import command_tree, language_asked, main
from chainrule.interfaces.predict import parse_index

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("--rows", "600", "--epochs", "2", "--engine", "interpreter")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Runs go to a folder of the test's own; messages are English whatever the machine says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A small trained reader."""
    folder = tmp_path_factory.mktemp("model")
    assert main(["train", "mnist", "--hidden", "16", *QUICK, "--out", str(folder / "run")]) == 0
    return folder / "run" / "model.safetensors"


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("autoencoder") / "run"
    options = ["--network", str(EXAMPLES / "autoencoder.formula"), "--optimizer", "adam", *QUICK, "--out", str(folder)]
    assert main(["train", "mnist", *options]) == 0
    return folder / "model.safetensors"


def size_of(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- train ------------------------------------------------------------------------------------------------------------


def test_training_leaves_a_run_folder(capsys):
    code, out, err = call(capsys, "train", "mnist", "--network", EXAMPLES / "digits.formula", *QUICK, "--seed", 3)
    assert code == 0
    run = Path("runs/digits")
    files = {"model.safetensors", "network.formula", "history.csv", "curves.png", "run.json"}
    assert {f.name for f in run.iterdir()} == {*files, "checkpoints", ".lock"}
    assert out.splitlines()[0].startswith("test, 10000 images: loss ")
    assert all(name in out.splitlines()[1] for name in ("runs/digits", *files))
    assert "x = pixels / 255" in err
    assert "Epoch 2/2  loss " in err
    assert "\x1b" not in out + err
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", "loss", "accuracy", "seconds"}
    note = json.loads((run / "run.json").read_text())
    assert note["command"][:3] == ["chainrule", "train", "mnist"]
    assert (note["seed"], note["optimizer"], note["samples"], note["interrupted"]) == (3, "rmsprop", 600, False)
    assert set(note["versions"]) >= {"python", "chainrule", "numpy", "llvmlite"}
    assert note["test"]["accuracy"] > 0.5
    assert (run / "network.formula").read_text() == cr.load(run / "model.safetensors").formulas
    assert size_of(run / "curves.png") > (600, 300)


def test_a_profile_is_printed_and_kept(capsys):
    options = ("--hidden", 8, "--rows", 256, "--epochs", 1, "--profile")
    code, out, _ = call(capsys, "train", "mnist", *options)
    assert code == 0
    assert "gather the batch" in out
    profile = json.loads(Path("runs/mnist-8/profile.json").read_text())
    assert {"gather", "waiting"} <= {row["part"] for row in profile["rows"]}
    assert "profile.json" in out.splitlines()[-1]


def test_the_interpreter_has_no_profile(capsys):
    code, _, err = call(capsys, "train", "mnist", "--hidden", 8, *QUICK, "--profile")
    assert code == 1
    assert "use engine='native'" in err
    assert not Path("runs/mnist-8").exists()


def test_the_compiled_engine_is_the_default_and_agrees(capsys):
    options = ("train", "mnist", "--hidden", 8, "--rows", 600, "--epochs", 2)
    assert call(capsys, *options, "--out", "native")[0] == 0
    assert call(capsys, *options, "--out", "slow", "--engine", "interpreter")[0] == 0
    native, slow = (load_file(f"{name}/model.safetensors") for name in ("native", "slow"))
    for name, weights in native.items():
        assert weights == pytest.approx(slow[name], abs=2e-4)


def test_the_same_seed_gives_the_same_weights(capsys):
    for out in ("a", "b"):
        call(capsys, "train", "mnist", "--hidden", 8, "--rows", 300, "--epochs", 1, "--seed", 5, "--out", out)
    first, second = (load_file(f"{out}/model.safetensors") for out in ("a", "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_run_folder_is_not_overwritten(capsys):
    options = ("train", "mnist", "--hidden", 4, "--rows", 100, "--epochs", 1, "--engine", "interpreter")
    assert call(capsys, *options)[0] == 0
    before = Path("runs/mnist-4/model.safetensors").read_bytes()
    code, out, err = call(capsys, *options, "--seed", 1)
    assert code == 0
    assert "runs/mnist-4 holds something already: this run goes to runs/mnist-4-2" in err
    assert "runs/mnist-4-2" in out
    assert Path("runs/mnist-4/model.safetensors").read_bytes() == before
    Path("empty").mkdir()
    assert "empty: model" in call(capsys, *options, "--out", "empty")[1]
    Path("file").write_text("x")
    assert "file-2: model" in call(capsys, *options, "--out", "file")[1]


def test_validation_rows_are_kept_out_of_training(capsys):
    options = ("--hidden", 4, "--rows", 300, "--validation", 100, "--epochs", 1, "--engine", "interpreter")
    code, _, err = call(capsys, "train", "mnist", *options, "--out", "run")
    assert code == 0
    assert "validation loss" in err
    assert json.loads(Path("run/run.json").read_text())["samples"] == 200
    assert "val_accuracy" in Path("run/history.csv").read_text()


def test_no_epochs_leave_the_first_weights(capsys):
    code, out, _ = call(capsys, "train", "mnist", "--hidden", 4, "--rows", 10, "--epochs", 0, "--out", "run")
    assert code == 0
    assert "curves.png" not in out
    assert Path("run/model.safetensors").exists()


@pytest.mark.filterwarnings("always::chainrule.errors.ChainruleWarning")
def test_pixels_stay_as_they_are_where_asked(capsys):
    _, _, err = call(capsys, "train", "mnist", "--hidden", 4, "--rows", 10, "--epochs", 0, "--no-scale", "--out", "run")
    assert "the numbers of x are not scaled" in err
    assert "255" not in Path("run/network.formula").read_text()


def test_an_autoencoder_trains_without_labels(autoencoder):
    assert {f.name for f in autoencoder.parent.iterdir()} >= {"rebuilt.png", "curves.png"}
    assert "accuracy" not in (autoencoder.parent / "history.csv").read_text()


def test_the_formulas_own_update_lines_hold(capsys):
    Path("net.formula").write_text((EXAMPLES / "mlp.formula").read_text() + "w <- w - 0.1*g\n")
    call(capsys, "train", "mnist", "--network", "net.formula", *QUICK)
    assert json.loads(Path("runs/net/run.json").read_text())["optimizer"] is None
    code, _, err = call(capsys, "train", "mnist", "--network", "net.formula", *QUICK, "--optimizer", "adam")
    assert code == 0
    assert "is replaced by the option optimizer=adam" in err


def test_a_schedule_and_a_rule_of_ones_own(capsys):
    options = ("--hidden", 4, "--rows", 100, "--epochs", 1, "--engine", "interpreter")
    assert call(capsys, "train", "mnist", *options, "--learning-rate", "cosine")[0] == 0
    assert call(capsys, "train", "mnist", *options, "--learning-rate", "0.1/sqrt(step)", "--optimizer", "sgd")[0] == 0
    assert call(capsys, "train", "mnist", *options, "--optimizer", "w <- w - 0.01*sign(g)")[0] == 0


def test_an_image_may_have_two_indices(capsys):
    Path("rc.formula").write_text(
        "input x[r, c]\nlabel y in k\nparameter W[r, c, k] = zeros\n"
        "p[k] = softmax[k](sum[r, c](x[r, c]*W[r, c, k]))\nE = -sum[k]([k == y]*log(p[k]))\n"
    )
    assert call(capsys, "train", "mnist", "--network", "rc.formula", *QUICK)[0] == 0
    assert cr.load("runs/rc/model.safetensors").sizes == {"r": 28, "c": 28, "k": 10}


def test_divergence_is_one_message_and_keeps_the_last_good_weights(capsys):
    options = ("--hidden", 16, "--rows", 600, "--learning-rate", "1e30", "--optimizer", "sgd", "--out", "run")
    code, out, err = call(capsys, "train", "mnist", *options)
    assert (code, out) == (1, "")
    assert "training left the finite numbers in epoch 1" in err
    assert "run: model.safetensors" in err
    assert all(np.isfinite(w).all() for w in cr.load("run/model.safetensors").parameters.values())


# --- complaints -------------------------------------------------------------------------------------------------------

BAD = [
    (2, ["trian"], "no command trian (there are: train, predict,"),
    (2, ["trian"], "Did you mean train?"),
    (2, ["train"], "DATA is missing"),
    (2, ["train", "mnist", "extra"], "too much was given: extra"),
    (2, ["train", "mnist", "--epoch", "3"], "no option --epoch. Did you mean --epochs?"),
    (2, ["train", "mnist", "--epochs", "many"], "--epochs: many is not a whole number"),
    (2, ["train", "mnist", "--epochs", "2.5"], "--epochs: 2.5 is not a whole number"),
    (2, ["train", "mnist", "--epochs"], "--epochs needs a value"),
    (2, ["train", "mnist", "--dtype", "float16"], "--dtype: float16 is none of float32, float64"),
    (2, ["train", "mnist", "--lang", "fr"], "--lang: fr is none of en, ko"),
    (2, ["show", "x", "--as", "latx"], "Did you mean latex?"),
    (2, ["predict"], "MODEL is missing"),
    (
        1,
        ["train", "mnits"],
        "no data set mnits (there is: mnist, fashion-mnist, kmnist, emnist-digits, emnist-letters)",
    ),
    (1, ["train", "mnist", "--rows", "0"], "rows came as 0"),
    (1, ["train", "mnist", "--rows", "60001"], "rows came as 60001"),
    (1, ["train", "mnist", "--rows", "9", "--validation", "9"], "validation came as 9"),
    (1, ["train", "mnist", "--epochs", "-1"], "epochs came as -1"),
    (1, ["train", "mnist", "--batch-size", "0"], "batch_size came as 0"),
    (1, ["train", "mnist", "--threads", "0"], "threads came as 0"),
    (1, ["train", "mnist", "--seed", "-1"], "seed came as -1"),
    (1, ["train", "mnist", "--optimizer", "rmspop"], "did you mean 'rmsprop'"),
    (1, ["train", "mnist", "--activation", "rely"], "did you mean 'relu'"),
    (1, ["train", "mnist", "--loss", "hing"], "did you mean 'hinge'"),
    (1, ["train", "mnist", "--activation", "step"], "step has no derivative"),
    (1, ["train", "mnist", "--hidden", "12,x"], "--hidden came as 12,x"),
    (1, ["train", "mnist", "--learning-rate", "nan"], "learning_rate came as nan"),
    (1, ["train", "mnist", "--learning-rate", "fast"], "unknown schedule 'fast'"),
    (1, ["train", "mnist", "--network", "absent"], "absent cannot be read: No such file"),
    (1, ["train", "mnist", "--network", "."], "cannot be read"),
    (1, ["train", "mnist", "--network", "{net}", "--hidden", "3"], "--hidden came together with --network"),
    (1, ["train", "mnist", "--network", "{bad}"], "line 1, column"),
    (1, ["train", "mnist", "--network", "{nand}"], "the inputs x1, x2"),
    (1, ["train", "mnist", "--network", "{classes}"], "classes are whole numbers from 0 to 4"),
    (1, ["train", "mnist", "--out", "{file}/run"], "cannot be written"),
    (1, ["predict", "absent"], "absent cannot be read"),
    (1, ["predict", "{bad}"], "not a chainrule model file"),
    (1, ["predict", "{model}", "--index", "x"], "--index came as x"),
    (1, ["predict", "{model}", "--index", "9..3"], "runs backward: write 3..9"),
    (1, ["predict", "{model}", "--index", "10000"], "row 10000, and there are 10000 rows"),
    (1, ["predict", "{model}", "--data", "cifar"], "no data set cifar"),
    (1, ["predict", "{model}", "--data", "mnist", "x.png"], "both --data and files"),
    (1, ["predict", "{model}", "absent.png"], "absent.png"),
    (1, ["predict", "{model}", "{bad}"], "unknown format"),
    (1, ["predict", "{model}", "{wide}"], "pixels came with the shape (2, 5)"),
    (1, ["evaluate", "{bad}"], "not a chainrule model file"),
    (1, ["show", "absent"], "absent cannot be read"),
    (1, ["show", "{bad}"], "line 1, column"),
    (1, ["show", "{net}", "--optimizer", "adm"], "did you mean 'adam'"),
    (1, ["derive", "{nand}"], "there is no loss"),
    (1, ["derive", "{net}", "--of", "W9"], "W9 has no derivative here"),
]


@pytest.mark.parametrize(("code", "arguments", "said"), BAD, ids=[" ".join(a) for _, a, _ in BAD])
def test_a_complaint_is_one_message_and_a_code(capsys, model, code, arguments, said):
    Path("bad.formula").write_text("y = = 2\n")
    Path("file").write_text("")
    np.save("wide.npy", np.zeros((2, 5)))
    classes = (EXAMPLES / "digits.formula").read_text().replace("size      j = 512", "size j = 4, k = 5")
    Path("classes.formula").write_text(classes)
    places = {
        "net": EXAMPLES / "digits.formula", "nand": EXAMPLES / "nand.formula", "model": model, "file": "file",
        "bad": "bad.formula", "wide": "wide.npy", "classes": "classes.formula",
    }  # fmt: skip
    came, out, err = call(capsys, *(a.format(**places) for a in arguments))
    assert (came, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_a_missing_formula_file_leaves_no_folder(capsys):
    call(capsys, "train", "mnist", "--optimizer", "rmspop", "--out", "run")
    assert not Path("run").exists()


# --- predict, evaluate ------------------------------------------------------------------------------------------------


def test_predictions_as_a_table(capsys, model):
    code, out, err = call(capsys, "predict", model, "--data", "mnist", "--index", "0..2")
    assert (code, err) == (0, "")
    assert all(word in out for word in ("row", "prediction", "probability", "label"))
    assert len(out.splitlines()) == 4 + 3
    assert "\x1b" not in out


def test_predictions_as_json_are_those_of_the_network(capsys, model):
    digits = cr.datasets.mnist()
    _, out, _ = call(capsys, "predict", model, "--index", "5-6,9", "--split", "train", "--json")
    records = json.loads(out)
    expected = cr.load(model).predict(digits.train.images[[5, 6, 9]])
    assert [r["index"] for r in records] == [5, 6, 9]
    assert [r["label"] for r in records] == digits.train.labels[[5, 6, 9]].tolist()
    assert [r["prediction"] for r in records] == expected.argmax(axis=1).tolist()
    assert np.array([r["output"] for r in records]) == pytest.approx(expected)
    assert [r["probability"] for r in records] == pytest.approx(expected.max(axis=1))


def test_an_image_and_a_numpy_file_give_what_the_data_set_gives(capsys, model):
    images = cr.datasets.mnist().test.images
    Image.fromarray(images[0].reshape(28, 28)).save("seven.png")
    np.save("some.npy", images[:3])
    _, out, _ = call(capsys, "predict", model, "--index", "0..2", "--json")
    wanted = [r["output"] for r in json.loads(out)]
    _, out, _ = call(capsys, "predict", model, "seven.png", "--input", "some.npy", "--json")
    records = json.loads(out)
    assert [r["index"] for r in records] == ["seven.png", "some.npy 0", "some.npy 1", "some.npy 2"]
    assert np.array([r["output"] for r in records]) == pytest.approx(np.array([wanted[0], *wanted]))
    assert all("label" not in r for r in records)
    assert call(capsys, "predict", model, "--input", "some.npy", "--index", "2")[0] == 0


def test_files_of_different_widths_do_not_mix(capsys, model):
    np.save("a.npy", np.zeros((1, 784)))
    np.save("b.npy", np.zeros((1, 5)))
    assert "different shapes" in call(capsys, "predict", model, "a.npy", "b.npy")[2]


def test_an_autoencoder_gives_numbers_and_a_picture(capsys, autoencoder):
    code, out, _ = call(capsys, "predict", autoencoder, "--index", "0,1", "--picture", "rebuilt.png")
    assert code == 0
    assert "(784 numbers)" in " ".join(out.split())
    assert size_of("rebuilt.png") > (50, 50)
    _, out, _ = call(capsys, "predict", autoencoder, "--index", "0", "--json")
    assert set(json.loads(out)[0]) == {"index", "output"}


def test_a_picture_of_classified_digits(capsys, model):
    assert call(capsys, "predict", model, "--index", "0..11", "--picture", "digits.png")[0] == 0
    assert size_of("digits.png")[0] > 1000


def test_a_gate_predicts_from_a_file(capsys):
    net = cr.formula(
        "input x[i]\nparameter w[i] = -2\nparameter b = 3\ny = step(sum[i](w[i]*x[i]) + b)", sizes={"i": 2}
    )
    net.save("nand.safetensors")
    np.save("x.npy", [[0, 0], [1, 1]])
    _, out, _ = call(capsys, "predict", "nand.safetensors", "x.npy", "--json")
    assert [r["output"] for r in json.loads(out)] == [1, 0]


def test_evaluation_is_that_of_the_network(capsys, model):
    digits = cr.datasets.mnist()
    wanted = cr.load(model).evaluate(digits.test.images, digits.test.labels)
    _, out, _ = call(capsys, "evaluate", model, "--json")
    record = json.loads(out)
    assert record["samples"] == 10_000
    assert record["accuracy"] == wanted["accuracy"]
    _, out, _ = call(capsys, "evaluate", model)
    assert out == f"mnist, test, 10000 images: loss {wanted['loss']:.4f}, accuracy {wanted['accuracy']:.4f}\n"


def test_index_ranges():
    assert parse_index("0..2", 3) == parse_index("0-2", 3) == parse_index("0,1,2", 3) == [0, 1, 2]
    assert parse_index(" 1 .. 1 , 0", 3) == [1, 0]


# --- show, derive -----------------------------------------------------------------------------------------------------


def test_formulas_forward_backward_and_update(capsys):
    code, out, _ = call(capsys, "show", EXAMPLES / "digits.formula", "--optimizer", "rmsprop")
    assert code == 0
    for line in (
        "h[j] = relu(a_h[j])",
        "delta_p[k] = p[k] - t[k]",
        "dE_dW1[i, j] = mean[n](x[i]*delta_h[j])",
        "v <- rho*v + (1 - rho)*g**2",
        "rho = 0.9",
    ):
        assert line in out.splitlines()


def test_a_model_file_is_shown_as_its_formulas(capsys, model):
    assert "delta_p[k] = p[k] - t[k]" in call(capsys, "show", model)[1].splitlines()


def test_rules_of_their_own_are_shown(capsys):
    assert "w[i] <- w[i] + eta*(t - y)*x[i]" in call(capsys, "show", EXAMPLES / "perceptron.formula")[1]


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.formula")))
@pytest.mark.parametrize("form", ["formulas", "latex", "numpy", "program", "rules"])
def test_every_example_is_shown(capsys, name, form):
    code, out, err = call(capsys, "show", EXAMPLES / f"{name}.formula", "--as", form)
    assert (code, err) == (0, "")
    assert out.strip()


def test_latex_is_a_document(capsys):
    _, out, _ = call(capsys, "show", EXAMPLES / "digits.formula", "--as", "latex")
    assert out.startswith("\\documentclass")
    assert r"\delta^{p}_{k} &= p_{k} - t_{k}" in out


def test_the_program_and_the_rules(capsys):
    _, out, _ = call(capsys, "show", EXAMPLES / "digits.formula", "--as", "program")
    assert any(line.startswith("Contract  a_h[n, j]") for line in out.splitlines())
    _, out, _ = call(capsys, "show", EXAMPLES / "digits.formula", "--as", "rules")
    assert "log of softmax" in out


def test_the_numpy_program_runs(capsys):
    code, out, err = call(capsys, "show", EXAMPLES / "digits.formula", "--as", "numpy", "--optimizer", "rmsprop")
    assert (code, err) == (0, "")
    program: dict[str, object] = {}
    exec(compile(out, "digits.py", "exec"), program)
    assert {"initialize", "train_step", "train"} <= set(program)


def test_a_derivation_names_its_steps(capsys):
    code, out, _ = call(capsys, "derive", EXAMPLES / "digits.formula")
    assert code == 0
    assert "δᵖₖ = ∂E/∂aᵖₖ = pₖ − tₖ" in out
    assert "(given of the data)" in out
    _, one, _ = call(capsys, "derive", EXAMPLES / "digits.formula", "--of", "W2")
    assert "∂L/∂W2ⱼₖ" in one
    assert "W1ᵢⱼ has" not in one
    _, steps, _ = call(capsys, "derive", EXAMPLES / "digits.formula", "--steps")
    assert "(Kronecker delta)" in steps and "(Kronecker delta)" not in out


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_a_derivation_in_other_forms(capsys, form, tmp_path):
    _, out, _ = call(capsys, "derive", EXAMPLES / "digits.formula", "--as", form)
    assert {"markdown": "$$", "latex": r"\documentclass", "html": "<math"}[form] in out
    suffix = {"markdown": ".md", "latex": ".tex", "html": ".html"}[form]
    code, out, err = call(capsys, "derive", EXAMPLES / "digits.formula", "--out", tmp_path / f"page{suffix}")
    assert (code, out) == (0, "")
    assert "the page is in" in err
    assert (tmp_path / f"page{suffix}").stat().st_size > 1000


def test_an_explanation_with_numbers(capsys):
    code, out, _ = call(
        capsys, "explain", EXAMPLES / "digits.formula", "--data", "mnist", "--index", 3, "--weight", "W1[300, 7]"
    )
    assert code == 0
    assert "The weight is W1[300, 7]" in out
    assert "(difference quotient)" in out
    assert "∂L/∂W1[300, 7]" in out
    code, drawn, _ = call(capsys, "explain", EXAMPLES / "mlp.formula", "--seed", 1)  # numbers are drawn
    assert code == 0
    assert "(difference quotient)" in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight", "W9[1]"], "there is no parameter W9"),
        (["--weight", "W1[784, 0]", "--data", "mnist"], "W1[784, 0] is out of range: i runs from 0 to 783"),
        (["--data", "mnist", "--index", "10000"], "10000"),
        (["--sample", "9", "--data", "mnist"], "sample 9 does not exist"),
        (["--out", "page.pdf"], "the suffix says the form"),
        (["--out", "page.html", "--as", "latex"], "cannot be used together"),
    ],
)
def test_an_explanation_asked_wrongly(capsys, arguments, message):
    code, out, err = call(capsys, "explain", EXAMPLES / "digits.formula", *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_the_data_sets(capsys):
    assert "LeCun, Cortes & Burges; CC BY-SA 3.0" in call(capsys, "datasets")[1]


# --- help and languages -----------------------------------------------------------------------------------------------

COMMANDS = [[], ["train"], ["predict"], ["evaluate"], ["show"], ["derive"], ["explain"], ["datasets"]]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_help_in_english_and_korean(capsys, command):
    code, english, _ = call(capsys, *command, "--help")
    assert code == 0
    assert english.startswith("Usage: chainrule")
    assert not any("가" <= c <= "힣" for c in english)
    code, korean, _ = call(capsys, *command, "--help", "--lang", "ko")
    assert code == 0
    assert korean.startswith("사용법: chainrule")
    assert "Options" not in korean
    assert "Commands" not in korean


def test_no_command_prints_the_help(capsys):
    assert call(capsys)[:2] == call(capsys, "--help")[:2]


def test_the_version(capsys):
    assert call(capsys, "--version")[1] == f"chainrule {cr.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "language"),
    [
        (["--lang", "ko", "train"], "ko"),
        (["train", "mnist", "--lang=ko"], "ko"),
        (["train", "--lang", "fr"], None),
        (["train", "--lang"], None),
        (["show", "--", "--lang", "ko"], None),
    ],
)
def test_the_language_is_found_anywhere(arguments, language):
    assert language_asked(arguments) == language


def test_messages_are_korean_where_asked_or_where_the_locale_is(capsys, monkeypatch):
    assert "데이터 세트는 없습니다" in call(capsys, "train", "mnits", "--lang", "ko")[2]
    assert "명령은 없습니다" in call(capsys, "--lang", "ko", "trian")[2]
    assert "there is no data set" in call(capsys, "train", "mnits")[2]  # the choice does not outlive its command
    monkeypatch.delenv("CHAINRULE_LANG")
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    assert "데이터 세트는 없습니다" in call(capsys, "train", "mnits")[2]
    assert "there is no data set" in call(capsys, "train", "mnits", "--lang", "en")[2]


def test_training_and_tables_in_korean(capsys):
    options = ("--hidden", 4, "--rows", 50, "--epochs", 1, "--engine", "interpreter", "--out", "run")
    _, out, err = call(capsys, "train", "mnist", *options, "--lang", "ko")
    assert "에포크 1/1  손실" in err
    assert out.startswith("시험 이미지 10000개: 손실")
    assert "정답" in call(capsys, "predict", "run/model.safetensors", "--lang", "ko")[1]


def test_both_catalogues_say_the_same_things():
    folder = resources.files("chainrule.messages")
    english, korean = (
        tomllib.loads(folder.joinpath(language, "interfaces.toml").read_text("utf-8")) for language in ("en", "ko")
    )
    assert list(english) == list(korean)
    for key, text in english.items():
        fields, others = ({f for _, f, _, _ in Formatter().parse(t) if f} for t in (text, korean[key]))
        assert fields == others, key


def test_every_option_has_its_help():
    for command in command_tree().commands.values():
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.hidden or parameter.help


# --- real processes ---------------------------------------------------------------------------------------------------


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "chainrule", *map(str, arguments)]
    base = {k: v for k, v in os.environ.items() if k not in ("CHAINRULE_LANG", "LC_ALL", "LC_MESSAGES", "LANG")}
    return subprocess.run(command, capture_output=True, env={**base, **environment}, timeout=120)


def test_a_plain_locale_prints_without_a_traceback(model):
    for environment in (
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1"},
        {"PYTHONUTF8": "0", "LC_ALL": "C"},
    ):
        for arguments in (("predict", model), ("derive", EXAMPLES / "digits.formula"), ("datasets", "--lang", "ko")):
            done = process(*arguments, **environment)
            assert (done.returncode, done.stderr) == (0, b"")


def test_a_complaint_of_a_real_process():
    done = process("train", "mnits", LANG="ko_KR.UTF-8")
    assert done.returncode == 1
    assert done.stdout == b""
    assert "데이터 세트는 없습니다" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m chainrule derive {EXAMPLES / 'digits.formula'} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
@pytest.mark.parametrize("engine", ["interpreter", "native"])
def test_ctrl_c_ends_after_the_step_and_keeps_the_weights(tmp_path, engine):
    command = [
        sys.executable,
        "-m",
        "chainrule",
        "train",
        "mnist",
        "--hidden",
        "64",
        "--epochs",
        "100000",
    ]
    environment = {**os.environ, "CHAINRULE_LANG": "en"}
    with subprocess.Popen(
        [*command, "--rows", "2000", "--out", "run", "--engine", engine],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        seen = ""
        while "Epoch 2/" not in seen:
            line = running.stderr.readline()
            assert line, seen  # it has ended
            seen += line
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "the weights are kept" in err
    assert "run: model.safetensors" in out
    assert "Traceback" not in err
    assert json.loads(Path("run/run.json").read_text())["interrupted"] is True
    assert cr.load("run/model.safetensors").evaluate(
        cr.datasets.mnist().test.images[:500], cr.datasets.mnist().test.labels[:500]
    )["accuracy"] > 0.7  # fmt: skip
