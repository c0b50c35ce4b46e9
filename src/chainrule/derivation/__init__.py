"""Chapter 3: the chain rule. A System becomes the equations of its backward pass, each with its steps.

rules, derive   the rules of differentiation as named rows; one scalar formula → its derivative
normalize       a system as the textbook writes it before it derives
adjoint         a System → its Derivation: the equations of the backward pass
pages/          the pages that explain it, with and without numbers
check, checked  the gradient check; kinks, entries, sampling: what it needs
claims/         "check my derivation": a claim proved or told apart
ground          the derivative from the ground up
"""
