"""fgq.ternarize_tensor against a brute-force search."""

import numpy as np
import pytest

import fgq


def best_error(group):
    """The least squared error of codes -1, 0, +1 with one real scale: the largest magnitudes have codes."""
    magnitudes = np.sort(np.abs(group))[::-1]
    sums = np.cumsum(magnitudes)
    return float((magnitudes**2).sum() - (sums**2 / np.arange(1, len(sums) + 1)).max())


def test_codes_are_the_best():
    weights = np.random.default_rng(0).normal(size=(8, 16, 3, 3)).astype(np.float32)
    ternary = fgq.ternarize(weights, 4)
    assert ternary.codes.shape == weights.shape and set(np.unique(ternary.codes)) <= {-1, 0, 1}
    assert ternary.scales.dtype == np.uint8 and ternary.scales.shape == (8, 9 * 4)
    groups = weights.transpose(0, 2, 3, 1).reshape(-1, 4).astype(np.float64)
    codes = ternary.codes.transpose(0, 2, 3, 1).reshape(-1, 4).astype(np.float64)
    scales = (groups * codes).sum(1) / np.maximum((codes**2).sum(1), 1)
    errors = ((groups - scales[:, None] * codes) ** 2).sum(1)
    np.testing.assert_allclose(errors, [best_error(group) for group in groups], rtol=1e-5, atol=1e-9)
    error = ((weights - ternary.dequantize()) ** 2).sum() / (weights**2).sum()
    assert error == pytest.approx(ternary.relative_error, rel=1e-4)


def test_groups_that_do_not_divide():
    weights = np.random.default_rng(1).normal(size=(3, 10, 2, 2)).astype(np.float32)
    ternary = fgq.ternarize(weights, 4)
    error = ((weights - ternary.dequantize()) ** 2).sum() / (weights**2).sum()
    assert error == pytest.approx(ternary.relative_error, rel=1e-4)


def test_whatever_holds_numbers():
    weights = np.random.default_rng(2).normal(size=(4, 8))
    expected = fgq.ternarize_tensor(weights.astype(np.float32), 4)
    for same in (weights, weights.tolist(), np.asfortranarray(weights), np.repeat(weights, 2, 1)[:, ::2]):
        for ours, theirs in zip(fgq.ternarize_tensor(same, 4, threads=2), expected):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "weights, options, error, words",
    [
        (np.zeros(4), {}, fgq.ArgumentError, "shape"),
        (np.full((2, 4), np.nan), {}, fgq.NonFiniteError, "NaN"),
        (np.zeros((2, 4)), {"group": 0}, fgq.ArgumentError, "group"),
        (np.zeros((2, 4)), {"group": "4"}, fgq.ArgumentError, "group='4'"),
        (np.zeros((2, 4)), {"scale_bits": 9}, fgq.ArgumentError, "scale_bits=9"),
        (np.zeros((2, 4), complex), {}, fgq.ArgumentError, "complex128"),
        (np.array([["a", "b"]]), {}, fgq.ArgumentError, "type"),
        (np.zeros((2, 4)), {"threads": 5000}, fgq.ArgumentError, "threads=5000"),
    ],
)
def test_what_is_refused(weights, options, error, words):
    with pytest.raises(error, match=words):
        fgq.ternarize_tensor(weights, **options)
