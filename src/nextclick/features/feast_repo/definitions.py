"""For Feast's own command line: `feast -c src/nextclick/features/feast_repo apply`."""

from nextclick.features.store.definitions import definitions
from nextclick.params import Params
from nextclick.project import project_root

root = project_root()
session, user, item, session_state, user_history, item_statistics = definitions(root, Params.read(root / "params.yaml"))
