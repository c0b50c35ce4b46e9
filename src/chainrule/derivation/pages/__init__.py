"""The pages that explain a derivation, with and without numbers.

page         what a page is made of: headings, lines of formulas, folds, tables
factors      the chain rule as a lecture writes it; layers that are alike
explain      a Derivation → its page
numbers      formulas with the numbers of a sample in them
render_text  a page → the terminal, Markdown, LaTeX
render_html  a page → one HTML file, formulas as MathML
"""
