"""A pytest plugin that runs Jinja's own tests on the guarded environment.

It is given to a pytest of its own that collects the tests of Jinja's source distribution. What the
sandbox excludes is in `DIFFERENCES`: such a test must fail, and every other one must pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import jinja2
import jinja2.environment
import pytest
from jinja2.runtime import Context

from yamlgraph_prompts._sandbox.budget import Budget, Limits, using
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._sandbox.views import view

# Test modules of Jinja's that say what templates do.
MODULES = (
    "test_core_tags",
    "test_filters",
    "test_imports",
    "test_inheritance",
    "test_lexnparse",
    "test_regression",
    "test_runtime",
    "test_tests",
)
# The others, and why they say nothing of ours.
OTHER_MODULES = {
    "test_api": "Jinja's Python interface: environments, modules, policies, expressions",
    "test_async": "asynchronous rendering: prompts are rendered synchronously",
    "test_async_filters": "asynchronous rendering: prompts are rendered synchronously",
    "test_bytecode_cache": "nothing is cached on disk",
    "test_compile": "the Python code that Jinja's compiler writes",
    "test_debug": "Jinja's tracebacks: an error here holds no values",
    "test_ext": "extensions: there are none",
    "test_idtracking": "Jinja's compiler",
    "test_loader": "loaders: prompts are read by layers",
    "test_nativetypes": "another kind of environment: a prompt is a text",
    "test_nodes": "Jinja's compiler",
    "test_pickle": "environments are not pickled",
    "test_security": "Jinja's own sandbox: tests/security has its escapes, and more",
    "test_utils": "Jinja's Python helpers",
}
_CALLED = "a function or an object that is given as a value is not called"
_ITERATOR = "an iterator that is given as a value is not used up"
_MARKUP = "templates make plain text, and no `Markup`"
_HTML = "a filter for HTML"
_CONTEXT = "filters and tests are run by a template, within a budget"
_OBJECT = "no special method of an object that is given as a value runs"
# A test without its parameters → what differs.
DIFFERENCES = {
    **dict.fromkeys(
        (
            "TestSet::test_namespace_redefined",
            "TestSyntax::test_call",
            "TestBug::test_pass_context_callable_class",
            "TestBug::test_callable_defaults",
            "TestBug::test_pass_context_loop_vars",
            "TestBug::test_pass_context_scoped_loop_vars",
            "TestBug::test_pass_context_in_blocks",
            "TestBug::test_pass_context_block_and_loop",
            "test_mock_not_pass_arg_marker",
        ),
        _CALLED,
    ),
    **dict.fromkeys(
        (
            "TestForLoop::test_context_vars",
            "TestForLoop::test_reversed_bug",
            "TestFilter::test_join_attribute",
            "TestFilter::test_sort4",
            "TestFilter::test_sort5",
            "TestFilter::test_sort6",
            "TestFilter::test_sort7",
            "TestFilter::test_sort8",
            "TestFilter::test_unique_attribute",
            "TestFilter::test_min_max_attribute",
            "test_iterator_not_advanced_early",
        ),
        _ITERATOR,
    ),
    **dict.fromkeys(
        (
            "TestSet::test_block_escaping",
            "TestSet::test_block_escaping_filtered",
            "TestFilter::test_join",
            "TestFilter::test_replace",
            "TestFilter::test_safe",
            "TestFilter::test_urlencode[value3-f=1&amp;z=2]",
            "TestBug::test_macro_escaping",
            "TestTestsCase::test_escaped",
        ),
        _MARKUP,
    ),
    **dict.fromkeys(
        (
            "TestFilter::test_urlize",
            "TestFilter::test_urlize_rel_policy",
            "TestFilter::test_urlize_target_parameter",
            "TestFilter::test_urlize_extra_schemes_parameter",
            "TestFilter::test_xmlattr",
            "TestFilter::test_xmlattr_key_invalid",
            "TestBug::test_urlize_filter_escaping",
            "TestBug::test_urlize_filter_closing_punctuation",
        ),
        _HTML,
    ),
    **dict.fromkeys(
        ("TestFilter::test_filter_calling", "test_is_filter", "test_is_test"), _CONTEXT
    ),
    "TestFilter::test_int_special_method": _OBJECT,
    **dict.fromkeys(
        ("TestFilter::test_pprint", "TestLexer::test_bytefallback"),
        "`pprint` shows what Python holds: `tojson` is there",
    ),
    "TestSyntax::test_implicit_subscribed_tuple": _OBJECT,
    "TestTestsCase::test_types[complex is number-True]": "complex numbers can only be printed",
    "TestBug::test_macro_scoping": "a list is not changed: it has no `pop`",
}


_OPTIONS = list(inspect.signature(jinja2.Environment.__init__).parameters)[1:]


class _Context(Context):
    """Shows what a test gives as `MessageTemplate` shows what an app gives."""

    def __init__(self, environment: Any, parent: dict[str, Any], *args: Any, **named: Any) -> None:
        shown = {
            name: value
            if type(value).__module__.startswith(("jinja2.", "yamlgraph_prompts."))
            else view(value)
            for name, value in parent.items()
        }
        super().__init__(environment, shown, *args, **named)


class _Environment(GuardedEnvironment):
    context_class = _Context

    def __init__(self, *args: Any, **options: Any) -> None:
        # Jinja's tests give the delimiters by position.
        options |= dict(zip(_OPTIONS, args, strict=False))
        options.pop("optimized", None)  # nothing is evaluated while it compiles
        super().__init__(**options)


@pytest.hookimpl(tryfirst=True)  # before Jinja's own conftest, which imports it by name
def pytest_load_initial_conftests() -> None:
    """Hand out the guarded environment in place of Jinja's."""
    jinja2.Environment = jinja2.environment.Environment = _Environment  # type: ignore[misc]
    jinja2.Template.environment_class = _Environment


@pytest.fixture(autouse=True)
def budget() -> Iterator[None]:
    """Templates are rendered within a budget only."""
    with using(Budget(Limits())):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the differences, and nothing but them."""
    unknown = set(DIFFERENCES)
    for item in items:
        name = item.nodeid.partition("::")[2]
        name = name if name in DIFFERENCES else name.partition("[")[0]
        if name in DIFFERENCES:
            unknown.discard(name)
            item.add_marker(pytest.mark.xfail(reason=DIFFERENCES[name], strict=True))
    if unknown:
        raise pytest.UsageError(f"Jinja has no such tests: {sorted(unknown)}")
