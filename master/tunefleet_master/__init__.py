"""The control plane of Tunefleet: API, search, storage, diagnosis and dashboard."""
