"""The HTTP API: one module of endpoints for each resource."""
