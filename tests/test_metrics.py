"""The measures are scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from portagrad.train import metrics


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_measures_of_a_classifier_are_those_of_scikit_learn(classes, seed):
    rng = np.random.default_rng([classes, seed])
    labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, 40)]))
    probabilities = rng.dirichlet(np.full(classes, 0.7), len(labels))
    if seed % 2:  # ties
        probabilities = np.round(probabilities, 1) + 0.1
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    taken = probabilities.argmax(axis=1)
    found = metrics.classification(labels, probabilities)
    if classes == 2:
        auc = theirs.roc_auc_score(labels, probabilities[:, 1])
    else:
        auc = theirs.roc_auc_score(labels, probabilities, multi_class="ovr")
    expected = {
        "accuracy": theirs.accuracy_score(labels, taken),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, taken),
        **{
            f"f1_{how}": theirs.f1_score(labels, taken, average=how) for how in ("macro", "micro", "weighted")
        },
        "precision": theirs.precision_score(labels, taken, average=None, zero_division=0),
        "recall": theirs.recall_score(labels, taken, average=None, zero_division=0),
        "roc_auc": auc,
        "log_loss": theirs.log_loss(labels, probabilities),
    }
    if classes > 5:
        expected["top_5"] = theirs.top_k_accuracy_score(labels, probabilities, k=5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    asked = ("f1_macro", "log_loss")
    assert metrics.classification(labels, probabilities, asked) == {name: found[name] for name in asked}
    single = {name for name, value in found.items() if isinstance(value, float)}
    assert single | {"top_5"} == {metrics.SCORES["classification"], *metrics.MEASURES["classification"]}
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, taken, classes),
        theirs.confusion_matrix(labels, taken, labels=range(classes)),
    )


def test_a_class_that_is_neither_there_nor_predicted_counts_for_nothing():
    labels, probabilities = np.asarray([0, 1, 1]), np.asarray([[0.6, 0.4, 0], [0.3, 0.7, 0], [0.9, 0.1, 0]])
    found = metrics.classification(labels, probabilities)
    taken = probabilities.argmax(axis=1)
    assert found["f1_macro"] == theirs.f1_score(labels, taken, average="macro")
    assert found["balanced_accuracy"] == theirs.balanced_accuracy_score(labels, taken)
    assert np.isnan(found["roc_auc"])


@pytest.mark.parametrize("outputs", [1, 3])
def test_measures_of_a_regression_are_those_of_scikit_learn(outputs):
    rng = np.random.default_rng(outputs)
    targets = rng.normal(size=(30, outputs))
    targets[:, -1] = 2.0 if outputs > 1 else targets[:, -1]
    values = targets + rng.normal(size=targets.shape)
    found = metrics.regression(targets, values)
    expected = {
        "mse": theirs.mean_squared_error(targets, values),
        "rmse": theirs.root_mean_squared_error(targets, values),
        "mae": theirs.mean_absolute_error(targets, values),
        "r2": theirs.r2_score(targets, values),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    assert found.keys() == {metrics.SCORES["regression"], *metrics.MEASURES["regression"]}
    assert metrics.regression(targets, targets)["r2"] == theirs.r2_score(targets, targets) == 1.0
