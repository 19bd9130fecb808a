"""Labels: classes, annotations, their log and store, and the formats they are exported to. No torch, no gradio."""
