"""Services: functions that take a unit of work, and background tasks.

The rooms, from the top: insights, reading and audit read; planning creates and changes trials and studies; execution
runs trials; access checks tokens.
"""
