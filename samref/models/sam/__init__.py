"""Segment Anything: encode once, decode per prompt (Kirillov et al., 2023)."""
