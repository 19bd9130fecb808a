"""The embedded model: small encoder, prompt fusion, decoder."""
