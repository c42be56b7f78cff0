"""Config files with a function get_hyper, for entrojax.sweep."""
