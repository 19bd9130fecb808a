"""Commands that need no page and no model, one file a group; what they do lives in :mod:`samref.labels`."""
