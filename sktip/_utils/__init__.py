"""Shared by the estimators: labels, classes, the steps of a fit, predictions, warnings, versions, links."""
