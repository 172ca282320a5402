"""The pages for people: rendered here, without a build step, readable without JavaScript."""
