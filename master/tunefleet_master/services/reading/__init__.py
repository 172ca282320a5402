"""Studies, trials and workers as users read them."""
