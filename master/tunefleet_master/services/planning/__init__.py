"""Planning trials: proposals, stages, promotion, races, and edits of a study."""
