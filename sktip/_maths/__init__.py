"""Array maths on torch: no scikit-learn, no images, no text."""
