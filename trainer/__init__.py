"""Training of styles: one picture in, one feed-forward network out."""
