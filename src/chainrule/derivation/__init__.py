"""Chapter 3: the chain rule. A System becomes the equations of its backward pass, each with its steps."""
