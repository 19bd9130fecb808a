"""SAM-REF: a light refiner over a late-fusion base (arXiv 2408.11535)."""
