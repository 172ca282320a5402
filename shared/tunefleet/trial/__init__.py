"""The trial that a training function gets, on a worker and in a notebook."""
