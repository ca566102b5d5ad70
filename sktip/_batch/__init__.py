"""Many images: in parts of a bounded size, answers and errors out."""
