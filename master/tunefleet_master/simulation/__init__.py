"""A fleet in virtual time: what a study would have found, had it been run otherwise. Pure, as the search is."""
