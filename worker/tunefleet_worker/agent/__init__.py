"""The agent: one process per machine that claims trials, runs each in a child, and delivers what they tell."""
