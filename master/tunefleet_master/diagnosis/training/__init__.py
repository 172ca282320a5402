"""What an expert reads in the curves of one training. Pure: no database, no web, no clock."""
