"""Every registry keeps the contract; and what the table opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registry_contract import RegistryContract
from tests.s3_servers import Shop
from yamlgraph_prompts.errors import UnknownScheme
from yamlgraph_prompts.registry import is_registry, keeps_releases, open_registry
from yamlgraph_prompts.registry.journal import journal_path
from yamlgraph_prompts.registry.local import LocalRegistry
from yamlgraph_prompts.registry.memory import MemoryRegistry
from yamlgraph_prompts.registry.ports import Registry
from yamlgraph_prompts.registry.s3 import S3Registry
from yamlgraph_prompts.registry.sql import SqlRegistry

OS_CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "utime")
SQL_CALLS = ("rows", "run", "run_many")
S3_CALLS = ("get", "put", "put_new", "keys")

Opened = Callable[[], Registry]


class TestLocal(RegistryContract):
    steps = tuple(f"os:{name}" for name in OS_CALLS)

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        self.url = (tmp_path / "a registry").as_uri()
        return lambda: open_registry(str(self.url))

    def damage(self, registry: Registry, release_id: str) -> None:
        assert isinstance(registry, LocalRegistry)
        path = registry.pack(release_id)
        path.write_bytes(path.read_bytes()[:-1])

    def test_two_environments_share_one_folder(self, opened: Opened, tmp_path: Path) -> None:
        registry = opened()
        assert isinstance(registry, LocalRegistry)
        assert registry.folder == tmp_path / "a registry"
        assert journal_path(registry.folder, "staging") != journal_path(
            registry.folder, "production"
        )


class TestMemory(RegistryContract):
    @pytest.fixture
    def opened(self) -> Opened:
        registry = MemoryRegistry()
        return lambda: registry


@pytest.mark.slow
class TestS3(RegistryContract):
    steps = tuple(f"yamlgraph_prompts.sources.s3.objects:Objects.{name}" for name in S3_CALLS)

    @pytest.fixture
    def opened(self, moto: Shop, monkeypatch: pytest.MonkeyPatch) -> Opened:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint)
        monkeypatch.setattr("yamlgraph_prompts.registry.s3.PAUSE_S", 0.05)
        self.url = f"s3://{moto.bucket}/app"
        return lambda: open_registry(str(self.url))

    def damage(self, registry: Registry, release_id: str) -> None:
        assert isinstance(registry, S3Registry)
        key = f"packs/{release_id}.pack"
        data = registry._objects.get(key, 1 << 20)
        assert data is not None
        registry._objects.put(key, data[:-1])


class TestSql(RegistryContract):
    steps = tuple(f"yamlgraph_prompts.sources.sql.database:Session.{name}" for name in SQL_CALLS)

    @pytest.fixture
    def opened(self, database_url: str) -> Opened:
        self.url = database_url
        return lambda: open_registry(database_url)

    def damage(self, registry: Registry, release_id: str) -> None:
        assert isinstance(registry, SqlRegistry)
        sql = "UPDATE prompts_version SET data = ? WHERE name = 'greeting'"
        registry._database.write(lambda session: session.run(sql, b"user: other"))


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    for url in ("gopher://x", "prompts", ""):
        with pytest.raises(UnknownScheme, match="file://, postgresql://, s3://, sqlite://"):
            open_registry(url)
        assert not is_registry(url)


def test_an_environment_in_the_url_is_filled_in(tmp_path: Path) -> None:
    url = f"{tmp_path.as_uri()}/{{environment}}"
    assert open_registry(url, environment="staging").url == f"{tmp_path.as_uri()}/staging"
    assert open_registry("s3://acme/{environment}/p", environment="x").url == "s3://acme/x/p/"


@pytest.mark.parametrize(
    ("url", "may"), [("s3://acme/app", True), ("file:///srv/prompts", False), ("prompts", False)]
)
def test_only_some_layers_may_be_published_releases(url: str, may: bool) -> None:
    assert keeps_releases(url) == may
