"""The roles that docs/registry.md grants: what each can do, and what it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import test_cli_push
from tests.databases import Postgres
from tests.files import write
from tests.test_cli_push import PUSH, Run
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts._cli import main

folder, run = test_cli_push.folder, test_cli_push.run  # fixtures
PAGE = Path(__file__).parents[1] / "docs/registry.md"
SECRET = "another-secret"
ROLES = ("prompts_reader", "prompts_writer", "prompts_migrator")
Url = Callable[[str], str]


@pytest.fixture
def url(postgres_server: Postgres) -> Iterator[Url]:
    """`url("writer")`: the database as that role, with the statements of the page."""
    server = postgres_server
    make, grant = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    server.ask(make)
    for role in ROLES:
        server.ask(f"ALTER ROLE {role} PASSWORD '{SECRET}'")

    def url(role: str) -> str:
        return server.url(user=f"prompts_{role}", password=SECRET)

    assert main(["migrate", url("migrator")]) == 0
    with psycopg.connect(url("migrator"), autocommit=True) as connection:
        connection.execute(grant)
    yield url
    server.ask("DROP SCHEMA prompts CASCADE")
    for role in ROLES:
        server.ask(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_each_role_can_do_what_it_is_for_and_no_more(folder: Path, run: Run, url: Url) -> None:
    for text in ("Hi", "Hello"):
        write(folder, {"prompts/greeting.yaml": f"user: {text} {{name}}\n"})
        code, out, err = run("push", "prompts", url("writer"), *PUSH)
        assert code == 0, out + err
    with LivePrompts(url("reader"), environment="production") as prompts:
        assert prompts["greeting"].user == "Hello {name}"
    words = ("-e", "production", "--who", "Ada")
    assert run("activate", "greeting@1", url("writer"), *words)[0] == 0
    assert run("rollback", url("writer"), *words)[0] == 0
    assert run("versions", "greeting", url("reader"))[0] == 0
    assert run("backup", url("reader"), "copy.db")[0] == 0
    code, _, err = run("rollback", url("reader"), *words)
    assert code == 2
    assert "permission denied for table" in err
    assert "docs/registry.md lists for a reader or a writer" in err
    assert SECRET not in err
    for statement in ("DELETE FROM prompts_entry", "UPDATE prompts_entry SET facts = ''"):
        with (
            psycopg.connect(url("writer"), autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)
    assert run("purge", url("migrator"), "--older-than", "1d", "--yes")[0] == 0


def test_who_may_not_make_the_tables_is_told_who_may(
    postgres_server: Postgres, folder: Path, run: Run, url: Url
) -> None:
    postgres_server.ask("DROP SCHEMA prompts CASCADE; CREATE SCHEMA prompts; "
                        "ALTER SCHEMA prompts OWNER TO prompts_migrator; "
                        "GRANT USAGE ON SCHEMA prompts TO prompts_writer")  # fmt: skip
    for words in (("migrate", url("writer")), ("push", "prompts", url("writer"), *PUSH)):
        code, _, err = run(*words)
        assert code == 2
        assert "permission denied for schema prompts" in err
        assert "yamlgraph-prompts migrate URL, as the migrator" in err
    assert run("migrate", url("migrator"))[0] == 0
