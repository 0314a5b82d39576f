"""What a flow can go down: the risk on samples, the risk against a teacher, an energy of pairs of
particles.

protocol.py says what each of them must offer.
"""
