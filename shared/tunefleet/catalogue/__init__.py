"""Facts that stand once, one row each: samplers, pruners, tasks, optimizers, schedules, recipes."""
