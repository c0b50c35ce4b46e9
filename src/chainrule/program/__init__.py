"""Chapter 4: from formulas to instructions. One Program of forward, backward and update; a slow runner; readable source."""
