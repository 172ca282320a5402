"""Which trials are worth going on with. Pure: no database, no web, no clock."""
