"""What estimators share besides their input: classes, versions, progress, links."""
