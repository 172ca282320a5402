"""Rules for the combinations of keys in a study; `review.review` is the entry point."""
