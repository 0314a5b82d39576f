"""Whether a run that goes on is the one that was begun: settings, formulas, the code of series."""
