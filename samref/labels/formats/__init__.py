"""One module per label format."""
