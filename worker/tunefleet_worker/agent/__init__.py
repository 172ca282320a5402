"""The agent: one process per machine that claims trials, runs each in a child process, and sends their results."""
