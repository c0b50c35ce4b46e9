"""Check my derivation: a derivative that somebody derived by hand, proved or told apart from the derived one.

judge           a claim → its verdict, on one page
claim, names, right_side, indices   reading a claim
quantities      what a claim may name
prove, terms    whether two expressions are equal, by a normal form
points          random points, where two expressions agree or do not
locate, edits   which mistake turns the right derivative into the claim; the table of mistakes
counterexample  the simplest numbers at which a wrong claim shows
verdict         what is said about a claim
"""
