"""What the experiments share: command line, configuration, runs, fits."""
