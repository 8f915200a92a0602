import pytest
from samplesmith.app.page.search.cost import CostEstimate


@pytest.fixture
def costs(studio):
    return CostEstimate(studio.models)
