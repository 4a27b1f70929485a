"""What the HTTP layer asks of the service is there where the engines are on a Ray cluster, too."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from sovits_service.ray_serve import remote
from sovits_service.ray_serve.engine import ASKED
from sovits_service.ray_serve.remote import RemoteService, RemoteSwitches, RemoteVoices
from sovits_service.service.protocol import Service, ServiceSwitches, ServiceVoices
from sovits_service.service.service import SpeechService
from sovits_service.service.switches import Switches
from sovits_service.service.voices import Voices

PROTOCOLS = [
    ("", Service, SpeechService, RemoteService),
    ("voices.", ServiceVoices, Voices, RemoteVoices),
    ("switches.", ServiceSwitches, Switches, RemoteSwitches),
]
METHODS = [
    pytest.param(vars(own).get(name), vars(other).get(name), id=f"{prefix}{name}")
    for prefix, protocol, own, other in PROTOCOLS
    for name in vars(protocol)
    if not name.startswith("_") and name not in {"voices", "switches", "results", "objects", "limits", "flights"}
]
SENT = set(re.findall(r'\bask\(\s*"([\w.]+)"', Path(remote.__file__).read_text(encoding="utf-8")))


@pytest.mark.parametrize(("own", "other"), METHODS)
def test_what_routes_use_has_a_counterpart_of_the_same_shape(own: object, other: object) -> None:
    assert own is not None
    assert other is not None, "add it to ray_serve/remote.py, and its name to ASKED in ray_serve/engine.py"
    assert isinstance(own, property) == isinstance(other, property)
    if not isinstance(own, property):
        assert _parameters(own) == _parameters(other)
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(other)


def test_engines_answer_what_the_ingress_asks() -> None:
    assert SENT == ASKED
    known = {prefix + name for prefix, _, own, _ in PROTOCOLS for name in vars(own) if not name.startswith("_")}
    assert known >= ASKED


def _parameters(method: object) -> list[tuple[str, object, object]]:
    assert callable(method)
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
