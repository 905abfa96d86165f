"""The ranker's trees as flat arrays, and the loop that scores with them: the very bits that XGBoost gives, faster for
the few hundred candidates of one request.

Numbers are compared as unsigned integers that order as they do. A missing value is the second highest; where it goes
left, the sum with twice one takes it past zero to the lowest. So a step down a tree has no branch to guess.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numba import njit

from nextclick.errors import InputError

BLOCK = 256  # rows that go through a tree together, so that their walks overlap and stay in the cache
SIGN, MISSING, ABOVE_ALL = np.uint32(1 << 31), np.uint32(2**32 - 2), np.uint32(2**32 - 1)
ONE, TWO = np.uint32(1), np.uint32(2)  # of the keys' own width: a sum with others would be wider, and not wrap


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees, each tree from its root down.

    roots, depths: (n_trees,) uint32. nodes: (n_nodes, 3) uint32: four times the feature, plus two where a missing value
    goes left; the key of the threshold, plus the same two, below which values go left; the left child, which the right
    one follows. A leaf is its own left child, with a threshold above every key. leaves: (n_nodes,) float32.
    base: the score before the first tree.
    """

    roots: np.ndarray
    depths: np.ndarray
    nodes: np.ndarray
    leaves: np.ndarray
    base: float

    @classmethod
    def of(cls, booster: xgb.Booster) -> Trees:
        """Raises InputError where the model has what this loop does not know, such as several outputs or categories."""
        learner = json.loads(booster.save_raw("json"))["learner"]
        about, boosting = learner["learner_model_param"], learner["gradient_booster"]
        if boosting["name"] != "gbtree" or int(about["num_class"]) > 1 or int(about["num_target"]) > 1:
            raise InputError("ranker: expected boosted trees with one output")
        rows: list[tuple[int, float, int, float]] = []
        roots, depths = [], []
        for tree in boosting["model"]["trees"]:
            roots.append(len(rows))
            depths.append(_append(rows, tree, int(about["num_feature"])))
        splits, thresholds, left, leaves = (np.array(column) for column in zip(*rows, strict=True))
        keys = np.empty((len(rows), 1), np.uint32)
        _to_keys(thresholds.astype(np.float32)[:, None], keys)
        nodes = np.stack([splits, keys[:, 0] + (splits & 2), left], axis=1).astype(np.uint32)
        nodes[left == np.arange(len(left)), 1] = ABOVE_ALL
        base = float(np.float32(about["base_score"].strip("[]")))
        return cls(np.array(roots, np.uint32), np.array(depths, np.uint32), nodes, leaves.astype(np.float32), base)

    def scores(self, features: np.ndarray, out: np.ndarray) -> None:
        """Write the score of each row of features, (n, n_features) float32, NaN where missing, into (n,) float32."""
        _score(features, self.roots, self.depths, self.nodes, self.leaves, self.base, out)


def _append(rows: list[tuple[int, float, int, float]], tree: dict, n_features: int) -> int:
    """Add a tree's nodes, level by level: split, threshold, left child, value of a leaf. Returns its depth."""
    level, depth, first = [0], 0, len(rows)
    while True:
        below: list[int] = []
        next_level = len(rows) + len(level)
        for node in level:
            feature, left, right = (tree[name][node] for name in ("split_indices", "left_children", "right_children"))
            value = tree["split_conditions"][node]
            if left < 0:
                rows.append((0, 0.0, len(rows), value))
                continue
            if not 0 <= feature < n_features or tree["split_type"][node]:
                raise InputError(f"ranker: a split by feature {feature} of {n_features}; expected one by a number")
            rows.append((4 * feature + 2 * tree["default_left"][node], value, next_level + len(below), 0.0))
            below += [left, right]
        if not below:
            return depth
        if len(rows) - first > len(tree["split_indices"]):
            raise InputError("ranker: the nodes of a tree lead back to themselves")
        level, depth = below, depth + 1


@njit(cache=True, nogil=True)
def _to_keys(values, keys):
    bits = values.view(np.uint32)
    for r in range(values.shape[0]):
        for k in range(values.shape[1]):
            if np.isnan(values[r, k]):
                keys[r, k] = MISSING
            elif values[r, k] == 0:  # of either sign
                keys[r, k] = SIGN
            else:
                keys[r, k] = ~bits[r, k] if bits[r, k] & SIGN else bits[r, k] | SIGN


@njit(cache=True, nogil=True)
def _score(features, roots, depths, nodes, leaves, base, out):
    keys = np.empty((min(BLOCK, len(features)), features.shape[1]), np.uint32)
    at = np.empty(BLOCK, np.uint32)
    for first in range(0, len(features), BLOCK):
        rows = features[first : first + BLOCK]
        scores = out[first : first + BLOCK]
        _to_keys(rows, keys)
        scores[:] = base
        for tree in range(len(roots)):
            at[: len(rows)] = roots[tree]
            for _ in range(depths[tree]):
                for r in range(len(rows)):
                    node = at[r]
                    split = nodes[node, 0]
                    key = np.uint32(keys[r, split >> TWO] + (split & TWO))
                    at[r] = nodes[node, 2] + (ONE if key >= nodes[node, 1] else np.uint32(0))
            for r in range(len(rows)):
                scores[r] += leaves[at[r]]
