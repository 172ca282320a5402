"""Pages for users: rendered on the server, without a build step, readable without JavaScript."""
