"""What a particle is, where it is no neuron: features φ(θ; x) that users bring."""
