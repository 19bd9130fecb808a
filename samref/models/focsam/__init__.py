"""FocSAM: SAM's image embedding refocused on the object (arXiv 2405.18706)."""
