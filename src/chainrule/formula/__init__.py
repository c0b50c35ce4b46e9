"""Chapter 1: what a formula is. Text becomes a System of equations over index notation."""
