"""`sktip label`: a page on one's own machine to look at photos, label and sort them."""
