"""The rows of the library against NumPy and SciPy."""
