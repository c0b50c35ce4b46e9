"""The command line on tables: train, predict, evaluate; what it says of what does not fit."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.interfaces.build import Design, Inputs, network_text
from chainrule.interfaces.cli import main
from chainrule.interfaces.material import material_for
from chainrule.interfaces.options import TrainOptions, given_class_weights, given_kinds, given_settings, given_shares

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"
SLOW = ("--engine", "interpreter", "--hidden", 8)
QUICK = (*SLOW, "--epochs", 1)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_LANG", "en")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def species(tmp_path_factory) -> Path:
    """A reader of penguins that has learned."""
    folder = tmp_path_factory.mktemp("species") / "run"
    options = ["--target", "species", "--epochs", "20", "--hidden", "16", "--out", str(folder)]
    assert main(["train", str(PENGUINS), *options]) == 0
    return folder / "model.safetensors"


@pytest.fixture(scope="session")
def mass(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mass") / "run"
    options = ["--target", "body_mass_g", "--epochs", "15", *map(str, SLOW), "--out", str(folder)]
    assert main(["train", str(PENGUINS), *options]) == 0
    return folder / "model.safetensors"


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def penguins() -> list[dict[str, str]]:
    return read_csv(PENGUINS.read_text())


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


# --- train ------------------------------------------------------------------------------------------------------------


def test_a_table_as_it_is(capsys, species):
    code, out, err = call(capsys, "evaluate", species, PENGUINS, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["samples"] == 344
    assert found["accuracy"] > 0.95
    run = species.parent
    assert {f.name for f in run.iterdir()} >= {"network.formula", "history.csv", "curves.png", "run.json"}
    note = json.loads((run / "run.json").read_text())
    assert note["samples"] + round(0.1 * 344) * 2 == pytest.approx(344, abs=2)
    assert {"target", "split", "test_file", "optimizer"} <= set(note)


def test_the_columns_are_shown_on_stderr_and_the_result_on_stdout(capsys):
    code, out, err = call(capsys, "train", PENGUINS, *QUICK)
    assert code == 0
    assert "the target is the last column, year" in err
    assert "flipper_length_mm" in err
    assert "number, some missing" in err
    assert "Epoch 1/1  loss" in err
    assert out.startswith("test, ")
    assert "rows: loss" in out
    assert "\x1b" not in out + err


def test_json_is_one_object_with_the_kept_keys(capsys):
    code, out, _ = call(capsys, "train", PENGUINS, "--target", "sex", *QUICK, "--json")
    assert code == 0
    found = json.loads(out)
    assert set(found) == {
        "run", "model", "files", "samples", "epochs", "best_epoch", "seconds", "interrupted", "train", "test", "table",
    }  # fmt: skip
    assert Path(found["model"]).exists()
    assert set(found["train"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert found["table"]["target"]["words"] == ["female", "male"]


def test_the_scaling_is_in_the_formulas(mass):
    """Means and spreads stand in the text, and the loss sees the mass in units of its spread."""
    formulas = (mass.parent / "network.formula").read_text()
    net = cr.load(mass)
    assert net.formulas == formulas
    assert "x[i] = (raw[i] - mu[i])/sigma[i]" in formulas
    masses = [float(row["body_mass_g"]) for row in penguins() if row["body_mass_g"] != "NA"]
    mean = float(formulas.split("u = (t - ")[1].split(")")[0])
    assert mean == pytest.approx(np.mean(masses), abs=50)
    assert {"mu", "sigma"} == {t.name for t in net.system.of_role("state")}


def test_a_number_is_predicted_in_its_own_units(capsys, mass):
    code, out, _ = call(capsys, "predict", mass, PENGUINS)
    assert code == 0
    pairs = [
        (float(made["prediction"]), float(row["body_mass_g"]))
        for made, row in zip(read_csv(out), penguins(), strict=True)
        if row["body_mass_g"] != "NA"
    ]
    made, true = np.array(pairs).T
    assert np.sqrt(np.mean((made - true) ** 2)) < 600  # the spread of all is 800
    out = call(capsys, "evaluate", mass, PENGUINS, "--json")[1]
    assert json.loads(out)["mae"] == pytest.approx(np.abs(made - true).mean(), rel=1e-4)
    assert json.loads(out)["rmse"] == pytest.approx(np.sqrt(np.mean((made - true) ** 2)), rel=1e-4)


def test_rows_for_validation_and_test_may_come_from_files():
    lines = PENGUINS.read_text().splitlines()
    held = write("held.csv", "\n".join([lines[0], *lines[1::5]]))
    for more, rows in (
        ({}, (275, 34, 35)),
        ({"test": Path(held)}, (310, 34, 69)),
        ({"test": Path(held), "validation": held}, (344, 69, 69)),
        ({"split": "0.5,0.5"}, (172, 0, 172)),
        ({"validation": "44"}, (266, 44, 34)),
        ({"validation": "0.25"}, (224, 86, 34)),
        ({"rows": 100}, (80, 10, 10)),
    ):
        made = material_for(TrainOptions(str(PENGUINS), target="species", hidden="0", **more))
        parts = [made.training, made.validation, made.test]
        counts = tuple(0 if part is None else len(part["t"]) for part in parts)
        assert counts == pytest.approx(rows, abs=1), more
        assert set(np.unique(made.training["t"])) == {0, 1, 2}, more


def test_the_best_weights_are_kept(capsys):
    options = ("--target", "sex", "--hidden", 8, "--learning-rate", 0.1, "--early-stopping", 2, "--json")
    code, out, err = call(capsys, "train", PENGUINS, *options, "--engine", "interpreter")
    assert code == 0
    found = json.loads(out)
    assert found["epochs"] == found["best_epoch"] + 2
    assert f"the weights are those of epoch {found['best_epoch']}" in err
    with Path(found["run"], "history.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert min(losses) == losses[found["best_epoch"] - 1]


def test_options_of_learning_are_lines_of_the_update_rule(capsys):
    more = ("--weight-decay", 0.01, "--clip-norm", 1, "--ema", 0.9, "--schedule", "cosine", "--learning-rate", 0.01)
    code, out, _ = call(capsys, "train", PENGUINS, "--target", "sex", *QUICK, *more, "--set", "beta_1=0.8", "--json")
    assert code == 0
    note = json.loads(Path(json.loads(out)["run"], "run.json").read_text())
    assert "global_clip_norm/global_norm(g)" in note["update"]
    assert "weight_decay*w" in note["update"]
    assert "ema*average" in note["update"]


def test_options_of_the_network_are_formulas(capsys):
    more = ("--dropout", 0.2, "--batch-norm", "--l2", 0.001, "--l1", 0.0001)
    code, out, _ = call(capsys, "train", PENGUINS, "--target", "sex", *QUICK, *more, "--json")
    assert code == 0
    text = Path(json.loads(out)["run"], "network.formula").read_text()
    assert "random r1[j] = bernoulli(0.8)" in text
    assert "prediction h[j] = z1[j]" in text
    assert "mean[n](a1[n, j])" in text
    assert "l2*(" in text


def test_a_table_through_a_network_of_ones_own(capsys):
    write(
        "one.formula",
        "input x[i]\nlabel y in k\nparameter W[i, k] = zeros\nparameter b[k] = zeros\n"
        "p[k] = softmax[k](sum[i](x[i]*W[i, k]) + b[k])\nE = -sum[k]([k == y]*log(p[k]))\n",
    )
    options = ("--engine", "interpreter", "--epochs", 8, "--learning-rate", 0.1, "--out", "one")
    assert call(capsys, "train", PENGUINS, "--target", "species", "--network", "one.formula", *options)[0] == 0
    assert "x[i] = (raw[i] - mu[i])/sigma[i]" in Path("one/network.formula").read_text()
    out = call(capsys, "evaluate", "one/model.safetensors", PENGUINS, "--json")[1]
    assert json.loads(out)["accuracy"] > 0.95
    write(
        "two.formula",
        "input bill_length_mm, bill_depth_mm\ntarget t\nparameter a, b, c = zeros\n"
        "p = sigmoid(a*(bill_length_mm - 44)/5 + b*(bill_depth_mm - 17)/2 + c)\nE = -(t*log(p) + (1 - t)*log(1 - p))\n",
    )
    named = ("--target", "sex", "--network", "two.formula", "--engine", "interpreter", "--epochs", 2, "--out", "two")
    assert call(capsys, "train", PENGUINS, *named)[0] == 0
    assert cr.load("two/model.safetensors").formulas == Path("two.formula").read_text()


def test_the_same_seed_gives_the_same_split_and_weights(capsys):
    for out in ("a", "b"):
        call(capsys, "train", PENGUINS, "--target", "sex", *QUICK, "--seed", 4, "--out", out)
    first, second = (cr.load(f"{out}/model.safetensors").parameters for out in ("a", "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)


# --- predict ----------------------------------------------------------------------------------------------------------


def test_predictions_have_class_names_and_probabilities(capsys, species):
    code, out, err = call(capsys, "predict", species, PENGUINS)
    assert (code, err) == (0, "")
    made = read_csv(out)
    assert list(made[0]) == ["row", "prediction", "probability", "p(Adelie)", "p(Chinstrap)", "p(Gentoo)"]
    assert [row["row"] for row in made[:2]] == ["1", "2"]
    right = [a["prediction"] == b["species"] for a, b in zip(made, penguins(), strict=True)]
    assert np.mean(right) > 0.95
    for row in made[:20]:
        shares = {name: float(row[f"p({name})"]) for name in ("Adelie", "Chinstrap", "Gentoo")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(shares, key=shares.__getitem__)


def test_one_row_alone_is_read_as_it_was_among_others(capsys, species):
    lines = PENGUINS.read_text().splitlines()
    whole = read_csv(call(capsys, "predict", species, PENGUINS, "--index", "7")[1])
    write("one.csv", f"{lines[0]}\n{lines[8]}\n")
    alone = read_csv(call(capsys, "predict", species, "one.csv")[1])
    assert float(alone[0]["probability"]) == pytest.approx(float(whole[0]["probability"]), rel=1e-5)
    assert whole[0]["row"] == "8"


def test_rows_that_miss_something(capsys, species):
    header = "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year,colour"
    write("new.csv", f"{header}\n,Mars,,18,190,3800,male,,blue\n")
    code, out, err = call(capsys, "predict", species, "new.csv")
    assert code == 0
    assert len(read_csv(out)) == 1
    assert "columns that the model does not know (colour)" in err
    assert "columns that had them all in training (year)" in err
    code, out, err = call(capsys, "predict", species, "new.csv", "--unknown", "error")
    assert (code, out) == (1, "")
    assert "row 1, column island: 'Mars' was not in training" in err


def test_predictions_into_a_file_and_as_json(capsys, species):
    code, out, err = call(capsys, "predict", species, PENGUINS, "--index", "0..2", "--out", "p.csv")
    assert (code, out, err) == (0, "", "p.csv: 3 rows\n")
    records = json.loads(call(capsys, "predict", species, PENGUINS, "--index", "0..2", "--json")[1])
    made = read_csv(Path("p.csv").read_text())
    for record, row in zip(records, made, strict=True):
        assert record["probabilities"]["Adelie"] == pytest.approx(float(row["p(Adelie)"]), rel=1e-6)
        assert record["prediction"] == row["prediction"]


def test_an_explanation_and_a_check_of_one_row(capsys, species):
    code, out, _ = call(capsys, "explain", species, "--data", PENGUINS, "--index", 3, "--json")
    assert code == 0
    assert set(json.loads(out)) == {"as", "page"}
    code, out, _ = call(capsys, "check", species, "--data", PENGUINS, "--json")
    assert code == 0


def test_margins_are_no_probabilities(capsys):
    options = ("--target", "sex", *QUICK, "--loss", "hinge", "--out", "margin")
    assert call(capsys, "train", PENGUINS, *options)[0] == 0
    assert "[k]" in Path("margin/network.formula").read_text()  # one output a class, also of two
    row = read_csv(call(capsys, "predict", "margin/model.safetensors", PENGUINS, "--index", 0)[1])[0]
    assert list(row) == ["row", "prediction", "value", "value(female)", "value(male)"]


# --- complaints -------------------------------------------------------------------------------------------------------

BAD = [
    (["train", "absent.csv"], "there is no file absent.csv"),
    (["train", "{p}", "--target", "speceis"], "has no column speceis"),
    (["train", "{p}", "--target", "speceis"], "Did you mean species?"),
    (["train", "{p}", "--target", "species", "--task", "regression"], "row 1: the target species has 'Adelie'"),
    (["train", "{p}", "--features", "x"], "has no column x"),
    (["train", "{p}", "--kinds", "year=what"], "--kinds came as year=what"),
    (["train", "{p}", "--split", "0.5,0.2"], "--split came as 0.5,0.2"),
    (["train", "{p}", "--split", "0.5,0.5", "--test", "{p}"], "--split came together with --test"),
    (["train", "{p}", "--class-weight", "blue=2", "--target", "sex"], "there is no class blue"),
    (["train", "{p}", "--class-weight", "balanced", "--target", "body_mass_g"], "is for classes"),
    (["train", "{p}", "--target", "sex", "--metrics", "accurasy"], "accurasy"),
    (["train", "{p}", "--target", "sex", "--split", "1,0", "--early-stopping", "3"], "none: add --validation"),
    (["train", "{p}", "--target", "sex", "--set", "beta_1"], "beta_1 must be a name and a number"),
    (["train", "{p}", "--dropout", "1"], "--dropout came as 1"),
    (["train", "{p}", "--target", "body_mass_g", "--loss", "dice"], "the loss dice wants one output a class"),
    (["train", "{p}", "--l2=-1"], "--l2 came as -1"),
    (["train", "{p}", "--encoding", "klingon"], "klingon"),
    (["train", "{p}", "--network", "{nand}"], "the inputs x1, x2"),
    (["train", "{p}", "--schedule", "cosine", "--learning-rate", "fast"], "--learning-rate came as fast"),
    (["train", "mnist", "--target", "x"], "--target is for tables"),
    (["train", "mnist", "--validation", "a.csv"], "is for tables"),
    (["predict", "{species}"], "name a file of rows"),
    (["predict", "{species}", "{p}", "--picture", "x.png"], "--picture draws images"),
    (["predict", "{species}", "{p}", "--out", "x.txt"], "--out came as x.txt"),
    (["predict", "{species}", "{bad}"], "has no column island"),
    (["evaluate", "{species}", "{p}", "{p}"], "one is evaluated at a time"),
    (["evaluate", "{species}"], "name a file of rows"),
    (["predict", "{species}", "{species}"], "is no text: bring a table"),
    (["train", "{species}"], "is no text: bring a table"),
    (["show", "{p}"], "is a table, and a file of formulas or a model is wanted here"),
    (["derive", "{bad}"], "train one with 'chainrule train bad.csv'"),
    (["predict", "{p}", "{p}"], "is not a chainrule model file"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_a_complaint_is_one_message(capsys, species, arguments, said):
    write("bad.csv", "a,b\n1,2\n")
    places = {"p": PENGUINS, "species": species, "bad": "bad.csv", "nand": PENGUINS.parent / "nand.formula"}
    code, out, err = call(capsys, *(a.format(**places) for a in arguments))
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


GERMAN = "Größe;Straße;seit;Miete in €;\n" + "".join(
    f"{n},5;{('Ödweg', 'Am Rain')[n % 2]};{1 + n % 28}.{1 + n % 12}.2020;1.{n}0,25;\n" for n in range(20, 80)
)  # fmt: skip


def test_a_file_with_semicolons_and_decimal_commas(capsys):
    """Size and rent rise together, and the rent of 50.5 is 1500.25."""
    write("miete.csv", "\ufeff" + GERMAN + "\n\n")
    options = ("--hidden", 0, "--features", "Größe", "--epochs", 400, "--learning-rate", 0.1)
    code, _, err = call(capsys, "train", "miete.csv", *options, "--engine", "interpreter", "--out", "m")
    assert code == 0
    assert "the target is the last column, Miete in €" in err
    assert "; stands between the values" in err
    assert "Größe (20,5 = 20.5), Miete in € (1.200,25 = 1200.25)" in err
    write("new.csv", "Größe,Straße\n50.5,x\n")
    write("neu.csv", "Größe;Straße\n50,5;x\n")
    rents = [
        float(read_csv(call(capsys, "predict", "m/model.safetensors", f)[1])[0]["prediction"])
        for f in ("new.csv", "neu.csv")
    ]
    assert rents == pytest.approx([1500.25, 1500.25], rel=0.01)


def test_numbers_of_options(capsys):
    assert "--dropout: half is not a finite number" in call(capsys, "train", "mnist", "--dropout", "half")[2]
    assert "--scale: big is none of" in call(capsys, "train", "x.csv", "--scale", "big")[2]


def test_a_model_file_with_a_damaged_layout(capsys, species):
    net = cr.load(species)
    net.notes["table"] = {"features": "all"}
    net.save("bad.safetensors")
    code, _, err = call(capsys, "predict", "bad.safetensors", PENGUINS)
    assert code == 1
    assert "is damaged" in err


def test_tables_in_korean(capsys, species):
    _, out, err = call(capsys, "train", PENGUINS, *QUICK, "--lang", "ko")
    assert "목표는 마지막 열 year입니다" in err
    assert out.startswith("시험 ")
    assert "학습에 없었습니다" not in err


# --- texts of options -------------------------------------------------------------------------------------------------


def test_texts_of_options_are_read():
    assert given_shares("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
    assert given_kinds("a=b=out") == (("a=b", "out"),)
    assert given_settings(["rho=0.9", "beta_1 = 1e-3"]) == {"rho": 0.9, "beta_1": 0.001}
    assert given_class_weights("yes=3", ("no", "yes"), {0: 1, 1: 1}) == {0: 1.0, 1: 3.0}


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)])
@pytest.mark.parametrize(("target", "loss"), [("binary", "binary_cross_entropy"), ("number", "huber")])
def test_a_single_output_is_a_network_that_derives(hidden, target, loss):
    inputs = Inputs(
        lines=("input raw[i]", "input c1 in v1"),
        equations=("x[i] = raw[i]/2",),
        terms=("sum[v1]([v1 == c1]*C1[v1, {unit}])",),
        tables=("C1[v1, {unit}]",),
        sizes=("v1 = 3",),
        target=target,
        centre=-2.0,
        spread=3.0,
    )
    text = network_text(Design(hidden, "tanh", loss, dropout=0.5, l2=0.01, inputs=inputs))
    net = cr.formula(text, sizes={"i": 2}, dtype="float64", seed=1)
    data = {"raw": np.eye(2), "c1": np.array([0, 2]), "t": np.array([0.0, 1.0])}
    assert net.check_gradients(data).ok


@pytest.mark.parametrize("number", [np.inf, -1e200])
@pytest.mark.parametrize("column", [1, 2])
def test_a_number_that_cannot_be_scaled_is_told_with_its_row(capsys, number, column):
    """A file of numbers can hold infinity; its mean stood in the formulas, which then could not be read."""
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[41, column - 1] = number
    np.save("rows.npy", rows)
    code, _, err = call(capsys, "train", "rows.npy", *QUICK)
    assert code == 1
    assert err.startswith(f"rows.npy, row 42, column {column}: {number}")
    assert err.count("\n") == 1


def test_a_class_that_is_read_as_no_value_is_told(capsys):
    text = "\n".join(f"{k % 7},{('none', 'mild', 'bad')[k % 3]}" for k in range(60))
    code, _, err = call(capsys, "train", write("a.csv", "x,severity\n" + text), *QUICK)
    assert code == 0
    assert "rows without a value in severity: 20; they are left out" in err
    assert "severity: none is read as no value" in err
