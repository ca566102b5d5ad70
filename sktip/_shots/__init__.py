"""Classifiers that keep their shots."""
