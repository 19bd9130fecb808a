"""Reports of an evaluation: JSON, Markdown and a page."""
