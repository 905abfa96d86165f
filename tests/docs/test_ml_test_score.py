"""The ML Test Score is counted from what passed: a failed, skipped or absent test proves nothing."""

import pytest
from ml_test_score import BY_HAND, CHECKS, Score


@pytest.mark.parametrize(
    ("tests", "passed", "check", "points"),
    [
        (["a", "b"], {"a": True, "b": True}, "data-1", 1),
        (["a", "b"], {"a": True, "b": False}, "data-1", 0),
        (["a", "b"], {"a": True}, "data-1", 0),
        ([], {}, "data-1", 0),
        ([], {}, "data-2", 0.5),
        (["a"], {"a": False}, "data-2", 0.5),
    ],
)
def test_a_check_counts_where_all_of_its_tests_passed(tests, passed, check, points):
    score = Score()
    score.tests[check], score.passed = tests, passed
    assert score.points(check) == points


def test_the_score_is_the_least_of_four_sums_and_the_page_says_what_proves_each_check():
    score = Score()
    score.tests["infra-1"], score.passed = ["tests/x.py::test_y[1]", "tests/x.py::test_y[2]"], {}
    score.passed = dict.fromkeys(score.tests["infra-1"], True)
    assert len(CHECKS) == 28
    assert score.sums() == {"data": 0.5, "model": 0.5, "infra": 1, "monitor": 0}
    page = score.page()
    assert "the least, 0, is the score. 1 of 28 checks are proven" in page
    assert "| infra-1 | Training is reproducible | 1 | `tests/x.py::test_y` |" in page
    assert BY_HAND["model-3"] in page
