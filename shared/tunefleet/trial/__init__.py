"""The trial that a training function receives, on a worker or in a notebook."""
