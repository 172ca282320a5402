"""Planning: submissions, proposals, stages, promotion, races, and changes of a study."""
