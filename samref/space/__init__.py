"""samref as a Hugging Face Space: its manifest, the folder made of it, what is checked, and how it gets there."""
