"""Changes to the files of a model."""

import json


def edit(path, change):
    """Change the JSON object in a file, which is made if there is none."""
    content = json.loads(path.read_text()) if path.exists() else {}
    change(content)
    path.write_text(json.dumps(content))
    return path
