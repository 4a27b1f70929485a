"""What the HTTP layer asks of the service is there where the engines are on a Ray cluster, too."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from sovits_service import api
from sovits_service.ray_serve import remote
from sovits_service.ray_serve.engine import ASKED
from sovits_service.ray_serve.remote import RemoteService
from sovits_service.service.service import SpeechService

SOURCES = [path.read_text(encoding="utf-8") for path in Path(api.__path__[0]).rglob("*.py")]
PUBLIC = {name for name in vars(SpeechService) if not name.startswith("_")}
LIFETIME = {"start", "stop"}  # each process has its own
USED = sorted(
    (PUBLIC - LIFETIME).intersection(*[{name for source in SOURCES for name in re.findall(r"service\.(\w+)", source)}])
)
SENT = set(re.findall(r'_ask\("(\w+)"', Path(remote.__file__).read_text(encoding="utf-8")))


def test_methods_that_routes_use_are_found() -> None:
    assert {"synthesize", "check_voice", "decode_source", "is_ready", "get_voice"} <= set(USED)


@pytest.mark.parametrize("name", USED)
def test_what_routes_use_has_a_counterpart_of_the_same_shape(name: str) -> None:
    own, other = vars(SpeechService)[name], vars(RemoteService).get(name)
    assert other is not None, f"RemoteService has no {name}: add it, and its name to ASKED in ray_serve/engine.py"
    assert isinstance(own, property) == isinstance(other, property)
    if not isinstance(own, property):
        assert _parameters(own) == _parameters(other)
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(other)


def test_engines_answer_what_the_ingress_asks() -> None:
    assert SENT <= ASKED
    assert ASKED <= PUBLIC


def _parameters(method: object) -> list[tuple[str, object, object]]:
    assert callable(method)
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
