"""Chapter 4: from formulas to instructions: a Program, its slow runner, its printed source."""
