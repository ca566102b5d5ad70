"""What classifiers keep of their shots."""
