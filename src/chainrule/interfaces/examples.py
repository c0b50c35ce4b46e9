"""Examples of each command, for its help page. docs/command-line.md has them all, and a test runs that page."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "train": (
        "chainrule train mnist --hidden 256,128 --activation tanh --optimizer adam",
        "chainrule train mnist --network examples/digits.formula --learning-rate 0.002 --schedule cosine",
        "chainrule train examples/penguins.csv --target species --out runs/penguins",
        "chainrule train examples/shapes --out runs/shapes",
        "chainrule train examples/penguins.csv --target body_mass_g --dropout 0.1 --early-stopping 30",
        "chainrule train --resume runs/penguins",
    ),
    "reproduce": ("chainrule reproduce runs/penguins",),
    "predict": (
        "chainrule predict runs/shapes/model.safetensors examples/shapes/circle/00.png examples/shapes/square/00.png",
        "chainrule predict runs/penguins/model.safetensors examples/penguins.csv --out predictions.csv",
        "chainrule predict runs/digits/model.safetensors --data mnist --index 0..9",
    ),
    "evaluate": (
        "chainrule evaluate runs/penguins/model.safetensors examples/penguins.csv --metrics accuracy,macro_f1",
        "chainrule evaluate runs/digits/model.safetensors --json",
        "chainrule evaluate runs/shapes/model.safetensors examples/shapes",
    ),
    "show": (
        "chainrule show examples/digits.formula --as latex",
        "chainrule show runs/penguins/model.safetensors --as numpy",
        "chainrule show runs/penguins/model.safetensors --as numpy --out reader.py",
    ),
    "derive": (
        "chainrule derive examples/digits.formula --of W1",
        "chainrule derive examples/digits.formula --steps --out derivation.html",
    ),
    "explain": (
        "chainrule explain runs/penguins/model.safetensors --data examples/penguins.csv --index 3 --out page.html",
    ),
    "check": (
        "chainrule check examples/mlp.formula",
        'chainrule check examples/mlp.formula "delta[k] = y[k] - z2[k]"',
    ),
    "derivative": ('chainrule derivative "a/(1 + exp(-a))" --at 1',),
    "plot": (
        "chainrule plot runs/penguins/model.safetensors network",
        'chainrule plot "x**2" descent --start 2',
    ),
    "export": (
        "chainrule export runs/penguins/model.safetensors penguins.onnx",
        "chainrule export runs/digits/model.safetensors digits.safetensors --names fc1,fc2",
    ),
    "import": (
        "chainrule import digits.safetensors --into examples/digits.formula --out model.safetensors",
        "chainrule import digits.safetensors --into examples/digits.formula --out model.safetensors"
        " --map fc1.weight=W1",
    ),
    "datasets": ("chainrule datasets --json",),
    "bench": ("chainrule bench --json",),
    "completion": (
        "chainrule completion bash >> ~/.bashrc",
        "chainrule completion zsh >> ~/.zshrc",
        "chainrule completion fish > ~/.config/fish/completions/chainrule.fish",
    ),
}
