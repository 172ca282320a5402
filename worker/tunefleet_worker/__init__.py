"""The GPU side of Tunefleet: agent, child processes, training toolbox and built-in tasks."""
