"""`make check-pages`: each page as a PDF and as a browser shows it, in build/pages, for eyes to look at.

Chromium and pdflatex come from the system's packages (Debian: chromium, texlive-latex-recommended). Without them this
fails: a page that nobody rendered was not checked.

    python -m tests.check_pages [FOLDER]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from chainrule.derivation.pages.explain import derivation_page
from chainrule.derivation.pages.page import Page
from chainrule.messages import LANGUAGES, set_language
from chainrule.training.network import formula
from tests.pages import EXAMPLES, deep, network, page_systems

WIDTHS = (1280, 390)
# A browser takes a second for each of 5 pictures: these have every kind of block and of formula.
SHOWN = ("digits", "digits numbers", "digits program", "attention", "scalars and positions", "20 layers")
SCHEMES = {"dark": 0, "light": 1}
# Appended to a copy of the page: what is wider than the window would have to be scrolled to.
PROBE = "<script>document.title = `${document.documentElement.scrollWidth} ${window.innerWidth}`</script>"


def main(folder: Path) -> int:
    """Render every page; how many were wrong."""
    browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    latex = shutil.which("pdflatex")
    if browser is None or latex is None:
        print("make check-pages needs chromium and pdflatex: apt-get install chromium texlive-latex-recommended")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    for language in LANGUAGES:
        set_language(language)
        for name, page in pages().items():
            path = folder / f"{name.replace(' ', '_')}.{language}"
            if language == "en" or has_package("kotex.sty"):
                wrong += compiled(latex, page, path)
            if name in SHOWN:
                wrong += shown(browser, page, path)
    print("\n".join(wrong) or f"all pages are in {folder}")
    return len(wrong)


def pages() -> dict[str, Page]:
    """The page of each system, and pages with numbers."""
    found = {name: derivation_page(network(text).derivation, title=name) for name, text in page_systems().items()}
    found["20 layers"] = derivation_page(network(deep(20)).derivation, title="20 layers")
    digits = formula((EXAMPLES / "digits.formula").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    found["digits numbers"] = digits.explain(rng.random((1, 784)), [3], weight="W1[300, 3]", title="digits").page()
    found["digits program"] = digits.program("rmsprop").page()
    return found


def has_package(name: str) -> bool:
    """Whether LaTeX knows a package: Korean needs kotex."""
    return subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode == 0


def compiled(latex: str, page: Page, path: Path) -> list[str]:
    """A PDF, by pdflatex."""
    source = path.with_name(path.name + ".tex")
    source.write_text(page.latex(steps=True), encoding="utf-8")
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", source.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    return [] if done.returncode == 0 else [f"{source}: pdflatex says {done.stdout[-300:].decode(errors='replace')}"]


def shown(browser: str, page: Page, path: Path) -> list[str]:
    """Pictures at both widths, in light and dark; nothing may be wider than the window."""
    source = path.with_name(path.name + ".html")
    source.write_text(page.html(), encoding="utf-8")
    probe = path.with_name(path.name + ".probe.html")
    probe.write_text(page.html().replace("</body>", PROBE + "</body>"), encoding="utf-8")
    wrong = []
    for width in WIDTHS:
        base = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        # A window is at least 500 wide: a narrow page goes into a frame of its width.
        frame = path.with_name(f"{path.name}.{width}.html")
        frame.write_text(f'<body style="margin:0"><iframe src="{probe.name}" width="{width}" height="3000" '
                         f'style="border:0"></iframe></body>', encoding="utf-8")  # fmt: skip
        for scheme, number in SCHEMES.items():
            picture = path.with_name(f"{path.name}.{width}.{scheme}.png")
            options = [f"--blink-settings=preferredColorScheme={number}", f"--window-size={max(width, 500)},3000"]
            done = subprocess.run(
                [*base, *options, f"--screenshot={picture}", frame.as_uri()], capture_output=True, check=False
            )
            if done.returncode != 0 or not picture.exists():
                wrong.append(f"{picture}: not rendered")
        size = [f"--window-size={max(width, 500)},3000", "--dump-dom", probe.as_uri()]
        dumped = subprocess.run([*base, *size], capture_output=True, text=True, check=False).stdout
        found = re.search(r"<title>(\d+) (\d+)</title>", dumped)
        if found is None or int(found[1]) > int(found[2]):
            wrong.append(f"{source}: wider than the window of {width}: {found[0] if found else 'no title'}")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/pages").resolve())))
