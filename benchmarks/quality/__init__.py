"""The benchmark of selection quality: what training on each selection is worth."""
