"""Who proposes configurations. Pure: no database, no web, no clock."""
