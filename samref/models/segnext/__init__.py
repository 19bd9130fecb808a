"""SegNext: dense prompt maps fused with the image features (arXiv 2404.00741)."""
