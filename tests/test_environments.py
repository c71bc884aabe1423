"""Which environment counts, and what happens to one that does not exist."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_in
from tests.files import write
from yamlgraph_prompts import (
    InvalidEnvironment,
    Layer,
    LayerNotFound,
    LivePrompts,
    load_and_compile,
)
from yamlgraph_prompts.sources.layers import environment_name
from yamlgraph_prompts.sources.reader import LayerReader

GRAPH = """
name: hello
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting, variables: {name: "{state.name}"}}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""


@pytest.fixture
def project(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    folder = write(
        tmp_path / "project",
        {
            "graph.yaml": GRAPH,
            "prompts/staging/greeting.yaml": "user: staging {name}",
            "prompts/production/greeting.yaml": "user: production {name}",
            "prompts/development/greeting.yaml": "user: development {name}",
        },
    )
    stand_in(folder)
    return folder


def greeting(**options: Any) -> str:
    with LivePrompts("prompts/{environment}", watch=False, **options) as prompts:
        return prompts["greeting"].user.split()[0]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_precedence_argument_over_everything(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_ENVIRONMENT", "production")
    assert greeting(environment="staging") == "staging"


def test_precedence_own_variable_over_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_ENVIRONMENT", "staging")
    assert greeting() == "staging"


def test_precedence_environment_over_development(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert greeting() == "production"
    assert not warnings_in(caplog)


def test_development_is_taken_with_a_warning_where_a_layer_uses_the_environment(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert greeting() == "development"
    (message,) = warnings_in(caplog)
    assert "YAMLGRAPH_PROMPTS_ENVIRONMENT" in message
    assert "'development'" in message


def test_no_warning_where_no_layer_uses_the_environment(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LivePrompts("prompts/staging", watch=False) as prompts:
        assert prompts.environment == "development"
    assert not warnings_in(caplog)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_ENVIRONMENT", "")
    monkeypatch.setenv("ENVIRONMENT", "")
    assert environment_name(None) == ("development", False)


@pytest.mark.parametrize("name", ["a", "Prod-EU.2", "0", "x_y"])
def test_a_name_of_letters_digits_and_marks_is_taken(name: str) -> None:
    assert environment_name(name) == (name, True)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-a", "_a", "a b", "a\n", "ä", "{environment}", "a\0"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidEnvironment, match="environment="):
        LivePrompts("prompts/{environment}", environment=name)
    if name and "\0" not in name:
        monkeypatch.setenv("ENVIRONMENT", name)
        with pytest.raises(InvalidEnvironment, match="ENVIRONMENT"):
            LivePrompts("prompts/{environment}")


@pytest.mark.slow
def test_env_files_are_loaded_before_the_environment_is_chosen(project: Path) -> None:
    write(project, {".env": "ENVIRONMENT=staging\n"})
    script = (
        "from yamlgraph_prompts import load_and_compile\n"
        "app = load_and_compile('graph.yaml', prompts_dir='prompts/{environment}').compile()\n"
        "print(app.prompts.environment, app.release['greeting'].user)\n"
    )
    assert run_in(project, script) == "staging staging {name}\n"


def test_a_misspelt_environment_lists_those_that_exist(project: Path) -> None:
    with pytest.raises(LayerNotFound) as caught:
        greeting(environment="stagng")
    assert caught.value.available == ("development", "production", "staging")
    assert "development, production, staging" in str(caught.value)
    assert "Did you mean 'staging'?" in str(caught.value)
    assert caught.value.layer == "prompts/stagng"
    assert isinstance(caught.value, LookupError)


def test_a_misspelt_environment_in_the_middle_of_a_path_lists_them_too(tmp_path: Path) -> None:
    for name in ("app-staging.d", "app-prod.d", "other"):
        write(tmp_path, {f"{name}/prompts/a.yaml": "user: x"})
    layer = f"{tmp_path}/app-{{environment}}.d/prompts"
    with pytest.raises(LayerNotFound) as caught, LivePrompts(layer, environment="prd"):
        pass
    assert caught.value.available == ("prod", "staging")
    assert "Did you mean 'prod'?" in str(caught.value)


def test_the_beginning_of_an_environment_is_no_environment_but_a_hint(tmp_path: Path) -> None:
    write(tmp_path, {"staging/a.yaml": "", "production/a.yaml": ""})
    layer = f"{tmp_path}/{{environment}}"
    with (
        pytest.raises(LayerNotFound, match="Did you mean 'production'"),
        LivePrompts(layer, environment="prod"),
    ):
        pass


def test_an_environment_that_is_there_without_its_inner_folder_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"staging/other/a.yaml": "", "prod/prompts/a.yaml": ""})
    layer = f"{tmp_path}/{{environment}}/prompts"
    with pytest.raises(LayerNotFound) as caught, LivePrompts(layer, environment="staging"):
        pass
    assert f"{tmp_path}/staging/prompts does not exist" in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_a_place_without_any_environment_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(LayerNotFound, match="None is in"),
        LivePrompts(f"{tmp_path}/none/{{environment}}", environment="staging"),
    ):
        pass


def test_a_misspelt_environment_never_falls_back_in_silence(project: Path) -> None:
    write(project, {"prompts/base/greeting.yaml": "user: base {name}"})
    with (
        pytest.raises(LayerNotFound),
        LivePrompts("prompts/{environment}", "prompts/base", environment="stagng"),
    ):
        pass
    with pytest.raises(LayerNotFound):
        load_and_compile(
            "graph.yaml", ["prompts/{environment}", "prompts/base"], environment="stagng"
        )


def test_a_misspelt_environment_is_told_for_an_optional_layer_too(project: Path) -> None:
    write(project, {"over/staging/greeting.yaml": "user: over {name}"})
    over = Layer("over/{environment}", optional=True)

    def told(environment: str) -> list[str]:
        with LivePrompts(over, "prompts/staging", environment=environment, watch=False) as prompts:
            return [f"{f.severity} {f.code}: {f.hint}" for f in prompts.publish().findings]

    assert told("stagging") == ["warning layer: Did you mean 'staging'?"]
    assert told("staging") == []
    # An overlay that only some environments have is what an optional layer is for.
    assert told("production") == []


def test_an_optional_layer_may_be_missing_and_may_come_later(project: Path) -> None:
    layers = (Layer("over/{environment}", optional=True), "prompts/{environment}")
    with LivePrompts(*layers, environment="staging", watch=False) as prompts:
        assert prompts["greeting"].user == "staging {name}"
        write(project, {"over/staging/greeting.yaml": "user: over {name}"})
        assert prompts.publish().status == "published"
        assert prompts["greeting"].layer == "over/staging"


def test_an_optional_layer_that_is_missing_is_no_trouble_however_it_is_looked_at(
    project: Path,
) -> None:
    troubles = []
    for optional in (True, False):
        reader = LayerReader(Layer("over", optional=optional), "staging", None)
        for look in (reader.version, reader.read):
            with suppress(LayerNotFound):
                look()
            troubles.append(reader.state.trouble)
    assert troubles[:2] == [None, None]
    assert all("does not exist" in str(trouble) for trouble in troubles[2:])


def test_relative_layers_are_relative_to_the_working_directory(project: Path) -> None:
    write(project, {"flows/graph.yaml": GRAPH})
    app = load_and_compile(
        "flows/graph.yaml", "prompts/{environment}", environment="staging", watch=False
    ).compile()
    assert app.release["greeting"].user == "staging {name}"


def test_relative_layers_are_relative_to_the_graphs_folder_with_prompts_relative(
    project: Path,
) -> None:
    write(
        project,
        {
            "flows/graph.yaml": GRAPH + "prompts_relative: true\n",
            "flows/texts/staging/greeting.yaml": "user: beside {name}",
        },
    )
    app = load_and_compile(
        "flows/graph.yaml", "texts/{environment}", environment="staging", watch=False
    ).compile()
    assert app.release["greeting"].user == "beside {name}"


@pytest.mark.parametrize("way", ["folder", "configmap", "file"])
def test_layers_beside_a_graph_follow_when_the_whole_app_is_swapped(
    project: Path, way: str
) -> None:
    graph = GRAPH + "prompts_relative: true\nprompts_dir: texts/{environment}\n"
    for edition in ("..old", "..new"):
        texts = {"texts/staging/greeting.yaml": f"user: {edition} {{name}}"}
        write(project / "app" / edition, {"graph.yaml": graph, **texts})
    link = project / "app" / ("..data" if way == "configmap" else "current")
    link.symlink_to("..old")
    path = link / "graph.yaml"
    if way != "folder":
        path = project / ("app/graph.yaml" if way == "configmap" else "link.yaml")
        path.symlink_to(os.path.relpath(link / "graph.yaml", path.parent))
    loaded = load_and_compile(path, environment="staging", watch=False)
    app = loaded.compile()
    assert app.release["greeting"].user == "..old {name}"
    (project / "beside").symlink_to("..new")
    os.replace(project / "beside", link)
    assert app.prompts.publish().status == "published"
    assert app.release["greeting"].user == "..new {name}"
    assert "..new" in vars(loaded.compile())["_yamlgraph_source_path"]


def test_an_app_that_is_swapped_and_started_anew_finds_what_it_kept(project: Path) -> None:
    for edition in ("old", "new"):
        files = {"graph.yaml": GRAPH + "prompts_relative: true\n", "greeting.yaml": "user: {name}"}
        write(project / edition, files)
    stores = []
    for edition in ("old", "new"):
        (project / "beside").symlink_to(edition)
        os.replace(project / "beside", project / "current")
        prompts = load_and_compile("current/graph.yaml", watch=False).compile().prompts
        stores.append(prompts.store_folder)
        prompts.close()
    assert stores[0] == stores[1]


@pytest.mark.parametrize("where", ["top", "defaults"])
def test_the_graphs_own_prompts_dir_may_hold_the_environment(project: Path, where: str) -> None:
    said = "prompts_dir: prompts/{environment}\n"
    graph = GRAPH + (said if where == "top" else f"defaults:\n  {said}")
    write(project, {"graph.yaml": graph})
    app = load_and_compile("graph.yaml", environment="production", watch=False).compile()
    assert app.release["greeting"].user == "production {name}"
    with pytest.raises(LayerNotFound, match="Did you mean 'production'"):
        load_and_compile("graph.yaml", environment="prodution", watch=False)


def test_prompts_dir_of_the_call_counts_before_the_graphs_own(project: Path) -> None:
    write(project, {"graph.yaml": GRAPH + "prompts_dir: prompts/{environment}\n"})
    app = load_and_compile("graph.yaml", "prompts/staging", watch=False).compile()
    assert app.release["greeting"].user == "staging {name}"


def test_one_process_may_serve_several_environments(project: Path) -> None:
    apps = {
        name: load_and_compile(
            "graph.yaml", "prompts/{environment}", environment=name, watch=False
        ).compile()
        for name in ("staging", "production")
    }
    assert {app.release["greeting"].user for app in apps.values()} == {
        "staging {name}",
        "production {name}",
    }
    assert apps["staging"].prompts is not apps["production"].prompts


def test_environments_keep_their_releases_apart_in_the_store(project: Path) -> None:
    for name in ("staging", "production"):
        with LivePrompts("prompts/{environment}", environment=name, watch=False):
            pass
    with LivePrompts("prompts/{environment}", environment="staging", watch=False) as prompts:
        assert [kept.environment for kept in prompts.releases()] == ["staging"]


def test_the_working_directory_at_the_load_counts_for_ever(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LivePrompts("prompts/{environment}", environment="staging", watch=False) as prompts:
        monkeypatch.chdir(tmp_path)
        write(project, {"prompts/staging/greeting.yaml": "user: later {name}"})
        assert prompts.publish().status == "published"
        assert prompts["greeting"].user == "later {name}"


@pytest.mark.slow
def test_env_of_the_process_is_read_when_the_prompts_are_made(project: Path) -> None:
    out = run_in(
        project,
        "import json, os\n"
        "from yamlgraph_prompts import LivePrompts\n"
        "first = LivePrompts('prompts/{environment}', watch=False)\n"
        "os.environ['ENVIRONMENT'] = 'production'\n"
        "print(json.dumps([first['greeting'].user, LivePrompts('prompts/{environment}', "
        "watch=False)['greeting'].user]))\n",
        env={"ENVIRONMENT": "staging"},
    )
    assert json.loads(out) == ["staging {name}", "production {name}"]
