"""The recommender, the local backend and every baseline hold to one contract. See tests/backends for Ray."""

import pytest
from recommender_contract import Recommend, RecommenderContract, learned_log, trained

from nextclick.backends.backend import Backend
from nextclick.evaluation.baselines import BASELINES


class TestContract(RecommenderContract):
    @pytest.fixture(scope="class", params=["recommender", "local backend", *BASELINES])
    @classmethod
    def recommend(cls, request, shop_events) -> Recommend:
        if request.param in BASELINES:
            return BASELINES[request.param]().fit(learned_log(shop_events)).recommend
        recommender = trained(shop_events)
        if request.param == "recommender":
            return recommender.recommend
        return lambda prefixes, k: Backend().recommend(recommender, prefixes, k)
