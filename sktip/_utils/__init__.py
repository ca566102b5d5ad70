"""What several parts of the package use, and belongs to none of them."""
