from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation.images import Images
from tests.stats.scenes import random_scene, to_matches
from yolo_attn.stats.ap import average_precisions, summarize
from yolo_attn.stats.bootstrap import image_weights, replicate_metrics
from yolo_attn.stats.evaluation import evaluate


def test_weights_are_counts_of_sampling_with_replacement() -> None:
    weights = image_weights(400, 500, seed=3)
    assert (weights.sum(axis=1) == 400).all()
    assert np.array_equal(weights, image_weights(400, 500, seed=3))
    assert not np.array_equal(weights, image_weights(400, 500, seed=4))
    # Binomial(400, 1/400): variance 1 - 1/400, and 37 % of the images are not sampled.
    assert abs(weights.var() - 1) < 0.02
    assert abs((weights == 0).mean() - np.exp(-1)) < 0.005


def test_replicate_equals_evaluation_of_the_sampled_images() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, 3) for _ in range(30)]
    weights = image_weights(30, 600, seed=1)
    sample = replicate_metrics(to_matches(scenes, 3), weights)
    assert sample.metrics.shape == (600, 6)
    assert sample.per_class.shape == (600, 3)
    for replicate in (0, 249, 250, 599):  # the ends of what is computed at a time
        drawn = [scene for scene, weight in zip(scenes, weights[replicate], strict=True) for _ in range(weight)]
        found = evaluate(to_matches(drawn, 3))
        np.testing.assert_allclose(sample.metrics[replicate], list(found["metrics"].values()), atol=1e-12)
        np.testing.assert_allclose(sample.per_class[replicate], list(found["per_class"].values()), atol=1e-12)


@pytest.mark.slow
def test_standard_error_matches_fresh_test_sets_and_dropping_repetitions_underestimates_it() -> None:
    """A published bootstrap drops repeated images, which loses a quarter of the error."""
    rng = np.random.default_rng(0)
    count, sets, replicates = 150, 400, 200

    def difference(images: Images, weights: np.ndarray) -> np.ndarray:
        one, other = (images.evaluate(images.arm(0.5)) for _ in range(2))
        values = [summarize(average_precisions(matches, weights))[0][:, 0] for matches in (one, other)]
        return values[0] - values[1]

    everything = np.ones((1, count), int)
    truth = np.std([difference(Images(rng, count), everything)[0] for _ in range(sets)], ddof=1)
    weights = image_weights(count, replicates)
    both = np.concatenate([weights, np.minimum(weights, 1)])
    sample = [difference(Images(rng, count), both) for _ in range(20)]
    whole, distinct = (
        np.sqrt(np.mean([np.var(part, ddof=1) for part in parts]))
        for parts in ([values[:replicates] for values in sample], [values[replicates:] for values in sample])
    )
    # The truth is known to 3.5 % (400 sets), the bootstrap to 2 %: three standard errors are 12 %.
    assert abs(whole / truth - 1) < 0.12
    assert abs(distinct / truth - 0.76) < 0.09
