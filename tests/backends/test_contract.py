"""What Ray recommends holds to the contract of everything that recommends."""

import pytest
from recommender_contract import Recommend, RecommenderContract, trained

from nextclick.backends.backend import backend_of
from nextclick.params import Pipeline


class TestContractOnRay(RecommenderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def recommend(cls, shop_events) -> Recommend:
        recommender, on_ray = trained(shop_events), backend_of(Pipeline(engine="ray", workers=2))
        return lambda prefixes, k: on_ray.recommend(recommender, prefixes, k)
