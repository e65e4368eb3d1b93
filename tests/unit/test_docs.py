"""What the pages name must exist: verbs, options, make targets, modules, files, routes, links."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.models import OptionInfo

from cluster.main import VERBS
from foreshock.stores.hot import RedisHot
from serve.api import create_api
from serve.board import Board
from tests.conftest import ROOT
