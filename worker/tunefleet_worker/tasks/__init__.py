"""The built-in tasks: training functions that a study names by `run: {task: ...}`."""
