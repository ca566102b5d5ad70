"""What estimators share besides their input: labels, classes, the steps of a fit, warnings, versions, progress, links."""
