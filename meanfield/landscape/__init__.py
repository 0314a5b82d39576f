"""The first variation over all of neuron space: its lowest point, and what it proves of F."""
