"""24,000 mutated image files; six in seven are JPEG, PNG, WEBP, GIF, BMP or TIFF."""

import json

import fuzz_files
import pytest

N_CASES, N_PARTS = 24_000, 8


@pytest.mark.parametrize("part", range(N_PARTS))
def test_each_is_decoded_as_by_pillow_or_refused_by_name(tmp_path, part):
    start, stop = (N_CASES * edge // N_PARTS for edge in (part, part + 1))
    summary = fuzz_files.run(tmp_path, start, stop)
    print(f"cases {start} to {stop}: {json.dumps(summary)}")
    assert summary["wrong"] == []
