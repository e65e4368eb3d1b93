"""The HTTP ingress in its replica."""

from __future__ import annotations

from typing import Any

from ray.serve.handle import DeploymentHandle

from foreshock.features.catalog import layout
from foreshock.stores.hot import RedisHot
from foreshock.stores.ledger import Ledger
from serve.api import create_api
from serve.board import Board
from serve.scorer_replica import score_of
from serve.settings import ServeSettings
from serve.wiring import Wiring


class ApiReplica:
    """See `serve.api.create_api`; Serve asks for the application once the constructor is done. The
    gate's handle is taken only because Serve deploys what the ingress depends on."""

    def __init__(
        self,
        scorer: DeploymentHandle[Any],
        gate: DeploymentHandle[Any],
        settings: ServeSettings,
        wiring: Wiring,
    ) -> None:
        hot = RedisHot(wiring.redis_url, prefix=wiring.prefix, timeout_s=settings.store_timeout_s)
        spill = None if wiring.spill_dir is None else wiring.spill_dir.parent
        self._board = Board(hot, lambda: Ledger(wiring.ledger), cold_spill=spill)
        self._application = create_api(
            self._board,
            settings,
            score=score_of(scorer),
            symbols=wiring.symbols,
            layout=layout(wiring.features),
        )

    def __serve_build_asgi_app__(self) -> Any:
        return self._application

    def __del__(self) -> None:
        board = getattr(self, "_board", None)
        if board is not None:
            board.close()
