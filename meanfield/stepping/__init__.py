"""From t to t + dt: methods as Butcher tableaux, and the march that applies them."""
