# ruff: noqa: E501 - attacks are easier to read on one line
"""Templates that attack: each is refused, or harmless with a stated result, within its limits.

Each row is a name, a template (a text, or a prompt's mapping) and what must come of it: `REFUSED`,
the exact text, `either(...)` where a version of Python may give one or the other, or `BOUNDED`:
refused or any text, but within the limits of time, memory and the interpreter lock. Its variables are
the names of `objects.FACTORIES` that stand in it, and the same ones are in `state`.
"""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import jinja2
import pytest

from tests.security import objects
from tests.security.guarded import (
    HOLD_S,
    MEBI,
    MEMORY,
    PROBE,
    RENDER_S,
    Case,
    Child,
    Result,
    copy_of_4_mib_s,
)
from tests.security.objects import PRINTING, Money, User
from yamlgraph_prompts import LivePrompts, PromptRenderError, PromptsError, templates
from yamlgraph_prompts.templates.template import MessageTemplate

NOISE = 2.0  # the machine is shared
MAX_TEXT = 4 * MEBI


class _Refused:
    def __repr__(self) -> str:
        return "refused"


REFUSED = _Refused()
BOUNDED = None
Expected = str | _Refused | None | tuple["str | _Refused", ...]
Row = tuple[str, "str | Mapping[str, Any]", Expected]


def either(*texts: str) -> tuple[str | _Refused, ...]:
    """Refused, or one of these texts."""
    return (REFUSED, *texts)


EMPTY = either("")  # as an attribute that does not exist

# -- row 2: objects ---------------------------------------------------------------------------------

OBJECTS: list[Row] = [
    # what an object's instance data shows
    ("an instance's data", "{{ user.name }} {{ user.tags[0] }} {{ user['name'] }}", "Ada a Ada"),
    ("a private attribute", "{{ user._secret }}", EMPTY),
    ("a private attribute by item", "{{ user['_secret'] }}", EMPTY),
    ("a private attribute, name put together", "{{ user['_sec' ~ 'ret'] }}", EMPTY),
    ("a private attribute by |attr", "{{ user|attr('_sec' ~ 'ret') }}", EMPTY),
    ("a private attribute by |map", "{{ [user]|map(attribute='_sec' ~ 'ret')|list }}", either("[Undefined]", "['']")),
    ("a private attribute in a path", "{{ {'u': user}|map('upper')|list }}{{ [{'u': user}]|map(attribute='u._secret')|join }}", either("U")),
    ("a private attribute by |groupby", "{{ [user]|groupby('_sec' ~ 'ret')|length }}", BOUNDED),
    ("a private attribute by |sort", "{{ [user, user]|sort(attribute='_secret')|length }}", either("2")),
    ("a private attribute by |selectattr", "{{ [user]|selectattr('_secret')|list|length }}", either("0")),
    ("a private attribute by |selectattr, compared", "{{ [user]|selectattr('_secret', 'equalto', 'SEC' ~ 'RET-private')|list|length }}", either("0")),
    ("a private attribute by |sum", "{{ [user]|sum(attribute='_secret', start='') }}", BOUNDED),
    ("a private attribute by |unique", "{{ [user]|unique(attribute='_secret')|list|length }}", either("1")),
    ("a private attribute by |min", "{{ ([user]|min(attribute='_secret')).name }}", either("Ada")),
    ("a property", "{{ user.balance }}", EMPTY),
    ("a cached property", "{{ user.loaded }}", EMPTY),
    ("a class attribute", "{{ user.kind }}", EMPTY),
    ("a private class attribute", "{{ user._class_secret }}", EMPTY),
    ("a method", "{{ user.greet() }}", REFUSED),
    ("a method with an argument", "{{ user.greet('me') }}", REFUSED),
    ("a method by item", "{{ user['greet']() }}", REFUSED),
    ("a method by |attr", "{{ (user|attr('greet'))() }}", REFUSED),
    ("a method, not called", "{{ user.greet }}", EMPTY),
    ("a class method", "{{ user.create() }}", REFUSED),
    ("a static method", "{{ user.run('id') }}", REFUSED),
    ("an object that can be called", "{{ user() }}", REFUSED),
    ("an object that can be called, in a {% call %}", "{% call user() %}{% endcall %}", REFUSED),
    ("a test for an attribute", "{{ user.balance is defined }}", either("False")),
    ("is callable", "{{ user is callable }}", BOUNDED),
    ("slots", "{{ slotted.name }}", "Slot"),
    ("a private slot", "{{ slotted._hidden }}", EMPTY),
    ("an object that answers everything", "{{ dynamic.name }}{{ dynamic.anything }}", either("Dyn")),
    ("an object that answers everything, by item", "{{ dynamic['anything'] }}", EMPTY),
    ("an object that answers everything, a test", "{{ dynamic.x is defined }}", either("False")),
    ("an object that answers everything, as |tojson", "{{ dynamic|tojson }}", BOUNDED),
    ("a simple namespace", "{{ simple.name }}{{ simple._x }}", either("Simple")),
    ("a sequence by __getitem__", "{{ rows_like[0] }}", EMPTY),
    ("a sequence by __getitem__, iterated", "{% for row in rows_like %}{{ row }}{% endfor %}", EMPTY),
    ("a sequence by __getitem__, |first", "{{ rows_like|first }}", EMPTY),
    ("a sequence by __getitem__, |length", "{{ rows_like|length }}", BOUNDED),
    ("a sequence by __getitem__, |list", "{{ rows_like|list }}", EMPTY),
    ("a sequence by __getitem__, in", "{{ 'x' in rows_like }}", either("False")),
    ("a sequence by __getitem__, reversed", "{{ rows_like|reverse|list }}", REFUSED),
    # pydantic
    ("a model's fields", "{{ model.name }} {{ model.tags[0] }} {{ model.address.city }}", "Ada x Paris"),
    ("a model's extra field", "{{ model.nickname }}", "Countess"),
    ("a model's private attribute", "{{ model._token }}", EMPTY),
    ("a model's private attributes", "{{ model.__pydantic_private__ }}", EMPTY),
    ("a model's computed field", "{{ model.score }}", EMPTY),
    ("a model's property", "{{ model.expensive }}", EMPTY),
    ("a model's method", "{{ model.shout() }}", REFUSED),
    ("a model's secret", "{{ model.password.get_secret_value() }}", REFUSED),
    ("a model's secret's insides", "{{ model.password._secret_value }}", EMPTY),
    ("a model's secret, printed", "{{ model.password }}", "**********"),
    ("a model's secret by |attr", "{{ model.password|attr('_secret' ~ '_value') }}", EMPTY),
    ("a model's JSON with a wide indent", "{{ model.model_dump_json(indent=3*10**8)|length }}", REFUSED),
    ("a model's dump with a fallback", "{{ model.model_dump(fallback=func) }}", either("{'name': 'Ada', 'tags': ['x'], 'address': {'city': 'Paris'}, 'password': SecretStr('**********'), 'nickname': 'Countess'}")),
    ("a model's copy", "{{ model.model_copy(update={'name': 'x'}) }}", REFUSED),
    ("a model's old copy", "{{ model.copy() }}", REFUSED),
    ("a model's fields' annotations", "{{ model.model_fields }}", EMPTY),
    ("a model's schema", "{{ model.model_json_schema() }}", REFUSED),
    ("a model that is built", "{{ model.model_construct() }}", REFUSED),
    ("a model that is validated", "{{ model.model_validate({}) }}", REFUSED),
    ("a model that unpickles", "{{ model.parse_raw('x', allow_pickle=true) }}", REFUSED),
    ("a model that reads a file", "{{ model.parse_file('/etc/passwd') }}", REFUSED),
    ("a model's class, called", "{{ model_cls() }}", REFUSED),
    ("a model's class, fields", "{{ model_cls.model_fields }}", EMPTY),
    ("a model's set fields", "{{ model.model_fields_set }}{{ model.model_extra }}", EMPTY),
    ("a model that is iterated", "{% for pair in model %}{{ pair[0] }}{% endfor %}", BOUNDED),
    # dataclasses, named tuples, enums
    ("a dataclass", "{{ point.x }} {{ point.ys[0] }}", "1 2"),
    ("a dataclass's private field", "{{ point._z }}", EMPTY),
    ("a dataclass's property", "{{ point.norm }}", EMPTY),
    ("a dataclass's class data", "{{ point.__dataclass_fields__ }}", EMPTY),
    ("a named tuple", "{{ pair.left }} {{ pair[1] }} {{ pair.right }}", "1 two two"),
    ("a named tuple's method", "{{ pair.swap() }}", REFUSED),
    ("a named tuple's _replace", "{{ pair._replace(left=2) }}", REFUSED),
    ("a named tuple's _asdict", "{{ pair._asdict() }}", REFUSED),
    ("a named tuple's _make", "{{ pair._make([1, 2]) }}", REFUSED),
    ("an enum", "{{ color.name }} {{ color.value }} {{ color }}", "RED red Color.RED"),
    ("an enum's method", "{{ color.leak() }}", REFUSED),
    ("an enum's private data", "{{ color._value_ }}{{ color._name_ }}", EMPTY),
    ("an enum's class", "{{ color.__class__.BLUE }}", REFUSED),
    ("an enum's member by a member", "{{ color.BLUE.value }}", EMPTY),
    ("an enum's class, listed", "{{ color_cls|list }}", BOUNDED),
    ("an enum's class, called", "{{ color_cls('red') }}", REFUSED),
    ("an enum of texts, printed", "{{ mood }}", "Mood.GOOD"),
    ("an enum of texts, joined", "{{ [mood]|join }}", either("good", "Mood.GOOD")),
    ("an enum of texts, compared", "{{ mood == 'good' }}", "True"),
    ("an enum of numbers", "{{ level + 1 }} {{ level.name }}", "4 HIGH"),
    # LangChain
    ("messages", "{% for m in messages %}{{ m.type }}:{{ m.content }};{% endfor %}", "system:Be kind.;human:hi;ai:ho;tool:3 cats;"),
    ("messages' further fields", "{{ messages[2].tool_calls[0].name }} {{ messages[1].name }} {{ messages[1].id }} {{ messages[2].additional_kwargs.note }}", "search ada m1 kept"),
    ("a message's text", "{{ messages[0].text }}", "Be kind."),
    ("a message that is added", "{{ (messages[0] + 'x').messages[1].prompt.template }}", REFUSED),
    ("a message that reads a file", "{{ (messages[0] + 'x').messages[1].prompt.from_file('/proc/self/environ').template }}", REFUSED),
    ("a message from the state that reads a file", "{{ (state.messages[0] + 'x').messages[1].prompt.from_file('/proc/self/environ').template }}", REFUSED),
    ("a message that is saved", "{{ (messages[0] + 'x').save('stolen.json') }}", REFUSED),
    ("a message's pretty form", "{{ messages[0].pretty_repr() }}", REFUSED),
    ("a message that prints itself", "{{ messages[0].pretty_print() }}", REFUSED),
    ("a message that is dumped", "{{ messages[0].to_json() }}", REFUSED),
    ("a message's secrets", "{{ messages[0].lc_secrets }}{{ messages[0].lc_attributes }}", EMPTY),
    ("a message's class data", "{{ messages[0].model_config }}{{ messages[0].__fields__ }}", EMPTY),
    ("messages that are multiplied", "{{ messages[0] * 3 }}", REFUSED),
    ("messages that are added the other way", "{{ ('x' + messages[0]) }}", REFUSED),
    ("a document", "{{ doc.page_content }} {{ doc.metadata.source }}", "page text a.md"),
    ("a document that is saved", "{{ doc.to_json() }}", REFUSED),
    ("a prompt that saves itself", "{{ lc_prompt.save('stolen.yaml') }}", REFUSED),
    ("a prompt that reads a file", "{{ lc_prompt.from_file('/etc/passwd').template }}", REFUSED),
    ("a prompt's template", "{{ lc_prompt.template }}", "hi {name}"),
    ("a prompt that is filled in", "{{ lc_prompt.format(name='x') }}", REFUSED),
    ("a prompt's graph, sent away", "{{ chat_prompt.get_graph().draw_mermaid_png(base_url='http://127.0.0.1:9', output_file_path='stolen.png') }}", REFUSED),
    ("a prompt's graph", "{{ chat_prompt.get_graph() }}", REFUSED),
    ("a prompt that is run", "{{ chat_prompt.invoke({'name': 'x'}) }}", REFUSED),
    ("a prompt that is piped", "{{ chat_prompt.pipe(func).invoke({'name': 'x'}) }}", REFUSED),
    ("a prompt with a function beside it", "{{ chat_prompt + 'x' }}", REFUSED),
    ("a prompt's partial", "{{ lc_prompt.partial(name=func).format() }}", REFUSED),
    ("a runnable", "{{ runnable.invoke(1) }}", REFUSED),
    ("a runnable's function", "{{ runnable.func(1) }}", REFUSED),
    ("a runnable's batch", "{{ runnable.batch([1]) }}", REFUSED),
    # functions, classes, modules
    ("a function", "{{ func() }}", REFUSED),
    ("a function's attributes", "{{ func.__globals__ }}", REFUSED),
    ("a function's code", "{{ func.__code__.co_consts }}", REFUSED),
    ("a function's code by item", "{{ func['__co' ~ 'de__'] }}", REFUSED),
    ("a code object", "{{ code.co_consts }}", EMPTY),
    ("a frame", "{{ frame.f_globals }}", EMPTY),
    ("a frame's caller", "{{ frame.f_back.f_locals }}", EMPTY),
    ("a bound method", "{{ method() }}", REFUSED),
    ("a bound method's object", "{{ method.__self__._secret }}", REFUSED),
    ("a partial", "{{ partial() }}", REFUSED),
    ("a partial's function", "{{ partial.func() }}", REFUSED),
    ("a partial's arguments", "{{ partial.args }}{{ partial.keywords }}", EMPTY),
    ("open", "{{ opener('/etc/passwd').read() }}", REFUSED),
    ("open, for writing", "{{ opener('stolen', 'w').write('x') }}", REFUSED),
    ("popen", "{{ popen('touch stolen').read() }}", REFUSED),
    ("popen in a {% call %}", "{% call popen('touch stolen') %}{% endcall %}", REFUSED),
    ("eval", "{{ evaluator('1') }}", REFUSED),
    ("__import__", "{{ importer('os').system('touch stolen') }}", REFUSED),
    ("a function by |map", "{{ ['touch stolen']|map(popen)|list }}", REFUSED),
    ("a function as a filter's name", "{{ ['x']|map(func)|list }}", REFUSED),
    ("a function as a test's name", "{{ ['x']|select(func)|list }}", REFUSED),
    ("a function as |default", "{{ undefined_name|default(func)() }}", REFUSED),
    ("a function in a list", "{{ [func][0]() }}", REFUSED),
    ("a function in a dict", "{{ {'f': func}.f() }}", REFUSED),
    ("a function in a namespace", "{% set ns = namespace(f=func) %}{{ ns.f() }}", REFUSED),
    ("a function through a cycler", "{{ cycler(func).next()() }}", REFUSED),
    ("a function through a macro", "{% macro m(f) %}{{ f() }}{% endmacro %}{{ m(func) }}", REFUSED),
    ("a function through varargs", "{% macro m() %}{{ varargs[0]() }}{% endmacro %}{{ m(func) }}", REFUSED),
    ("a function through kwargs", "{% macro m() %}{{ kwargs.f() }}{% endmacro %}{{ m(f=func) }}", REFUSED),
    ("a function through the state", "{{ state.func() }}", REFUSED),
    ("a function through a loop", "{% for f in [func] %}{{ f() }}{% endfor %}", REFUSED),
    ("a function through dict.items", "{% for k, f in {'a': func}.items() %}{{ f() }}{% endfor %}", REFUSED),
    ("a function through dict.get", "{{ {'a': func}.get('a')() }}", REFUSED),
    ("a function through |first", "{{ ([func]|first)() }}", REFUSED),
    ("a function through |batch", "{{ ([func]|batch(1)|first)[0]() }}", REFUSED),
    ("a function through |dictsort", "{{ ({'a': func}|dictsort)[0][1]() }}", REFUSED),
    ("a function through |groupby", "{{ ([{'k': 1, 'f': func}]|groupby('k')|first).list[0].f() }}", REFUSED),
    ("a class", "{{ cls() }}", REFUSED),
    ("a class's attributes", "{{ cls.kind }}", EMPTY),
    ("a class's method", "{{ cls.run('id') }}", REFUSED),
    ("a class's order", "{{ cls.mro() }}", REFUSED),
    ("a class's base", "{{ cls.__base__.__subclasses__() }}", REFUSED),
    ("type", "{{ type_type('A', (), {}) }}", REFUSED),
    ("a descriptor", "{{ descriptor.fget }}", EMPTY),
    ("a module", "{{ module.environ }}", EMPTY),
    ("a module's function", "{{ module.system('touch stolen') }}", REFUSED),
    ("a module by item", "{{ module['sys' ~ 'tem']('touch stolen') }}", REFUSED),
    ("a module's module", "{{ module.path.os.listdir('/') }}", REFUSED),
    ("types", "{{ types_module.FunctionType }}", EMPTY),
    ("a bound method of a text", "{{ str_method(['a', 'b']) }}", REFUSED),
    ("a bound method of a list", "{{ list_append(1) }}", REFUSED),
    ("attrgetter", "{{ getter(user) }}", REFUSED),
    ("methodcaller", "{{ caller_(user) }}", REFUSED),
    ("a path that is read", "{{ path.read_text() }}", REFUSED),
    ("a path that is listed", "{{ path.parent.iterdir()|list }}", REFUSED),
    ("a path, printed", "{{ path }}", "/etc/passwd"),
    ("a path that is divided", "{{ (path / 'x') }}", REFUSED),
    ("a pattern", "{{ pattern.match('a' * 40 ~ 'b') }}", REFUSED),
    ("a match", "{{ match.re.sub('a', 'b', 'a') }}", REFUSED),
    ("a logger", "{{ logger.info('forged') }}", REFUSED),
    ("a logger's handlers", "{{ logger.handlers }}", BOUNDED),
    ("a lock", "{{ lock.acquire() }}", REFUSED),
    ("a thread", "{{ thread.join() }}", REFUSED),
    ("an error's traceback", "{{ error.__traceback__.tb_frame.f_locals }}", REFUSED),
    ("an error's notes", "{{ error.add_note('x') }}", REFUSED),
    ("a weak reference", "{{ weak()._secret }}", REFUSED),
    ("a weak proxy", "{{ weak_proxy._secret }}", EMPTY),
    ("a C library", "{{ libc.system('touch stolen') }}", REFUSED),
    ("a C library by item", "{{ libc['system']('touch stolen') }}", REFUSED),
    ("a C buffer", "{{ cbuffer.raw }}{{ cbuffer.value }}", EMPTY),
    ("a C buffer by item", "{{ cbuffer[0] }}", EMPTY),
    ("the environment", "{{ environ.HOME }}{{ environ['HOME'] }}", BOUNDED),
    ("the environment, changed", "{{ environ.setdefault('STOLEN', '1') }}", REFUSED),
    ("an array that is written", "{{ array.tofile('stolen') }}", REFUSED),
    ("an array that is filled", "{{ array.fill(0) }}", REFUSED),
    ("an array that is multiplied", "{{ (array * 1000000000)|length }}", REFUSED),
    ("an array of numbers that is multiplied", "{{ (matrix * 100000000)|length }}", REFUSED),
    ("an array that is added", "{{ matrix + matrix }}", REFUSED),
    # bytes
    ("bytes' items", "{{ raw[0] }}", EMPTY),
    ("bytes that are decoded", "{{ raw.decode() }}", REFUSED),
    ("bytes that are decoded as punycode", "{{ raw.decode('punycode') }}", REFUSED),
    ("bytes as hex", "{{ raw.hex() }}", REFUSED),
    ("bytes that are multiplied", "{{ (raw * 10**9)|length }}", REFUSED),
    ("bytes that are formatted", "{{ raw % 1 }}", REFUSED),
    ("bytes that are joined", "{{ [raw]|join|length > 0 }}", BOUNDED),
    ("a bytearray that is extended", "{{ ba.extend([1]) }}", REFUSED),
    ("a memoryview", "{{ mv.tobytes() }}", REFUSED),
    ("a memoryview that is cast", "{{ mv.cast('c')|list }}", REFUSED),
    ("a memoryview that is released", "{{ mv.release() }}", REFUSED),
    ("a text that becomes bytes", "{{ text.encode()|length }}", either("3")),
    # iterators are the app's
    ("a generator in a loop", "{% for x in gen %}{{ x }}{% endfor %}", REFUSED),
    ("a generator as a list", "{{ gen|list }}", REFUSED),
    ("a generator, joined", "{{ gen|join }}", REFUSED),
    ("a generator, first", "{{ gen|first }}", REFUSED),
    ("a generator, length", "{{ gen|length }}", REFUSED),
    ("a generator, in", "{{ 'x' in gen }}", REFUSED),
    ("a generator, mapped", "{{ gen|map('upper')|list }}", REFUSED),
    ("a generator, unpacked", "{% set a, b = gen %}{{ a }}", REFUSED),
    ("a generator, as arguments", "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(*gen) }}", REFUSED),
    ("a generator's frame", "{{ gen.gi_frame.f_locals }}", REFUSED),
    ("a generator, sent to", "{{ gen.send(none) }}", REFUSED),
    ("a generator, closed", "{{ gen.close() }}", REFUSED),
    ("a generator, joined by a text", "{{ ','.join(gen) }}", REFUSED),
    ("a generator in a dict", "{{ dict(gen) }}", REFUSED),
    ("an iterator in a loop", "{% for x in iterator %}{{ x }}{% endfor %}", REFUSED),
    ("an iterator, summed", "{{ iterator|sum }}", REFUSED),
    ("an iterator in a list in a loop", "{% for x in [iterator][0] %}{{ x }}{% endfor %}", REFUSED),
    ("an iterator without an end", "{% for x in forever %}{% endfor %}", REFUSED),
    ("an iterator without an end, as a list", "{{ forever|list|length }}", REFUSED),
    ("an iterator without an end, in", "{{ 'x' in forever }}", REFUSED),
    ("a map", "{{ mapped|list }}", REFUSED),
    ("a file that is read", "{{ opened.read() }}", REFUSED),
    ("a file that is iterated", "{% for line in opened %}{{ line }}{% endfor %}", REFUSED),
    ("a file as a list", "{{ opened|list }}", REFUSED),
    ("a file that is closed", "{{ opened.close() }}", REFUSED),
    ("a file that is written", "{{ opened.write('x') }}", REFUSED),
    ("a buffer", "{{ buffer.getvalue() }}", REFUSED),
    ("a buffer that is iterated", "{{ buffer|first }}", REFUSED),
    # objects that fight back
    ("a hostile object, printed", "{{ hostile }}", "hostile-str"),
    ("a hostile object, compared", "{{ hostile == 1 }}{{ 1 == hostile }}", either("FalseFalse")),
    ("a hostile object, compared with itself", "{{ hostile == hostile }}", either("True")),
    ("a hostile object, ordered", "{{ hostile < 1 }}", REFUSED),
    ("a hostile object, its truth", "{{ 'yes' if hostile else 'no' }}", either("yes")),
    ("a hostile object, its truth in not", "{{ not hostile }}", either("False")),
    ("a hostile object, its truth by and", "{{ (hostile and 'yes') }}", either("yes")),
    ("a hostile object, its length", "{{ hostile|length }}", REFUSED),
    ("a hostile object, in", "{{ 1 in hostile }}", either("False")),
    ("a hostile object in a list, in", "{{ 1 in [hostile] }}{{ hostile in [1] }}", either("FalseFalse")),
    ("a hostile object as a key", "{{ {hostile: 1}|length }}", either("1")),
    ("a hostile object's key", "{{ d[hostile] }}", EMPTY),
    ("a hostile object, added", "{{ hostile + 1 }}", REFUSED),
    ("a hostile object, added from the right", "{{ 1 + hostile }}", REFUSED),
    ("a hostile object, added to a text", "{{ 'a' + hostile }}", REFUSED),
    ("a hostile object, added to a list", "{{ [1] + hostile }}", REFUSED),
    ("a hostile object, multiplied", "{{ 'a' * hostile }}", REFUSED),
    ("a hostile object, negated", "{{ -hostile }}", REFUSED),
    ("a hostile object, called", "{{ hostile() }}", REFUSED),
    ("a hostile object, its item", "{{ hostile[0] }}{{ hostile['a'] }}", EMPTY),
    ("a hostile object, iterated", "{% for x in hostile %}{{ x }}{% endfor %}", EMPTY),
    ("a hostile object, joined by ~", "{{ hostile ~ '' }}", "hostile-str"),
    ("a hostile object in a list, printed", "{{ [hostile] }}", "[hostile-repr]"),
    ("a hostile object, |string", "{{ hostile|string }}", "hostile-str"),
    ("a hostile object, |e", "{{ hostile|e }}", either("hostile-str")),
    ("a hostile object, |safe", "{{ hostile|safe }}", either("hostile-str")),
    ("a hostile object, |int", "{{ hostile|int }}", either("0")),
    ("a hostile object, |float", "{{ hostile|float }}", either("0.0")),
    ("a hostile object, |abs", "{{ hostile|abs }}", REFUSED),
    ("a hostile object, |round", "{{ hostile|round }}", REFUSED),
    ("a hostile object, |upper", "{{ hostile|upper }}", either("HOSTILE-STR")),
    ("a hostile object, |sort", "{{ [hostile, 1]|sort }}", REFUSED),
    ("a hostile object, |unique", "{{ [hostile, hostile]|unique|list|length }}", either("1")),
    ("a hostile object, |sum", "{{ [hostile]|sum }}", REFUSED),
    ("a hostile object, |tojson", "{{ hostile|tojson }}", BOUNDED),
    ("a hostile object, |pprint", "{{ hostile|pprint }}", REFUSED),
    ("a hostile object, |format", "{{ '%s'|format(hostile) }}", either("hostile-str")),
    ("a hostile object, % r", "{{ '%r' % hostile }}", either("hostile-repr")),
    ("a hostile object, % d", "{{ '%d' % hostile }}", REFUSED),
    ("a hostile object, .format", "{{ '{}'.format(hostile) }}", ("hostile-format", "hostile-str")),
    ("a hostile object, .format with a spec", "{{ '{:>9}'.format(hostile) }}", REFUSED),
    ("a hostile object as a width", "{{ 'a'.center(hostile) }}", REFUSED),
    ("a hostile object as a range", "{{ range(hostile)|list|length }}", REFUSED),
    ("a hostile object as a slice", "{{ 'abc'[hostile:] }}", REFUSED),
    ("a hostile object as an index", "{{ l[hostile] }}", EMPTY),
    ("a hostile object as a test's argument", "{{ 4 is divisibleby(hostile) }}", REFUSED),
    ("a hostile object as |default's", "{{ hostile|default('x', true) }}", either("hostile-str")),
    ("a hostile object as **kwargs", "{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(**hostile) }}", REFUSED),
    ("a hostile object as *args", "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(*hostile) }}", REFUSED),
    ("a hostile text, printed", "{{ hostile_str }}", "hostile-str"),
    ("a hostile text's method", "{{ hostile_str.upper()|length }}", either("10", "11")),
    ("a hostile text, compared", "{{ hostile_str == 'x' }}", "False"),
    ("a hostile text, its length", "{{ hostile_str|length }}", either("10", "11")),
    ("a hostile text, added", "{{ ('a' + hostile_str)|length }}", either("11", "12")),
    ("a hostile text as a key", "{{ d[hostile_str] }}", EMPTY),
    ("a hostile text as a separator", "{{ [1, 2]|join(hostile_str)|length }}", either("12", "13")),
    ("a hostile text's format", "{{ hostile_str.format(1)|length }}", either("10", "11")),
    ("a hostile number", "{{ hostile_int + 1 }}", "6"),
    ("a hostile number as a width", "{{ 'a'.center(hostile_int)|length }}", "5"),
    ("a hostile number as a range", "{{ range(hostile_int)|list }}", "[0, 1, 2, 3, 4]"),
    ("a hostile number, compared", "{{ hostile_int == 6 }}{{ hostile_int > 4 }}", "FalseTrue"),
    ("a hostile number, its truth", "{{ 1 if hostile_int else 0 }}", "1"),
    ("a hostile float", "{{ hostile_float * 2 }}", "1.0"),
    ("a hostile list, iterated", "{% for x in hostile_list %}{{ x }}{% endfor %}", "12"),
    ("a hostile list, its length", "{{ hostile_list|length }}", "2"),
    ("a hostile list, its item", "{{ hostile_list[0] }}", "1"),
    ("a hostile list, added", "{{ hostile_list + [3] }}", "[1, 2, 3]"),
    ("a hostile list, in", "{{ 9 in hostile_list }}", "False"),
    ("a hostile list, its truth", "{{ 1 if hostile_list else 0 }}", "1"),
    ("a hostile dict, its item", "{{ hostile_dict.a }}{{ hostile_dict['a'] }}", "11"),
    ("a hostile dict, missing", "{{ hostile_dict['b'] }}", ""),
    ("a hostile dict, iterated", "{% for k in hostile_dict %}{{ k }}{% endfor %}", "a"),
    ("a hostile dict, its items", "{{ hostile_dict.items()|list }}", "[('a', 1)]"),
    ("a hostile tuple", "{{ hostile_tuple[1] }}{{ hostile_tuple|length }}", "22"),
    ("a hostile set", "{{ 1 in hostile_set }}{{ hostile_set|length }}", "True1"),
    ("hostile bytes", "{{ hostile_bytes.decode() }}", REFUSED),
    ("a mapping that makes values", "{{ defaulting.b }}{{ defaulting['b'] }}{{ defaulting.get('b') }}", either("None")),
    ("a defaultdict that grows", "{{ dd['new'] }}{{ dd.new }}", EMPTY),
    ("an object that claims to be a text", "{{ pretender.name }} {{ pretender }}", "Pre pretender"),
    ("an object that claims to be a text, its method", "{{ pretender.upper() }}", REFUSED),
    ("an object that claims to be a text, |upper", "{{ pretender|upper }}", either("PRETENDER")),
    ("an object that claims to be a text, added", "{{ 'a' + pretender }}", REFUSED),
    ("an object that claims to be a text, is string", "{{ pretender is string }}", either("False")),
    *(
        (f"{what}: {call}", "{{ " + f"{value}.{call}" + " }}", expected)
        for what, value in {"a zone of a time": "zoned", "a zone of a date": "zoned_day", "a zone's own name": "stamped"}.items()
        for call, expected in {
            "tzname()": "CET",
            "tzname() == 'x'": "False",
            "tzname().upper() ~ '!'": "CET!",
            "utcoffset()": "1:00:00",
            "utcoffset() == 1": "False",
            "utcoffset() * 1": "1:00:00",
            "utcoffset().total_seconds()": "3600.0",
            "strftime('%Z')": "CET",
            "isoformat()[-6:]": "+01:00",
        }.items()
    ),
    ("dictionaries of a model that fight back", "{{ packed.name }}{{ packed.more }}{{ packed.none_such }}", "Eveyes"),
    ("dictionaries of a model that fight back, iterated", "{% for pair in packed %}{{ pair }}{% endfor %}", "('name', 'Eve')('more', 'yes')"),
    ("dictionaries of a model that fight back, dumped", "{{ packed.model_dump() }}", "{'name': 'Eve', 'more': 'yes'}"),
    ("a key of an object that fights back", "{{ keyed.name }}{{ keyed['name'] }}", "KayKay"),
    ("a metaclass that claims instances", "{{ metaclassed.name }}", "Meta"),
    ("a class with a hostile metaclass", "{{ meta_cls.anything }}", EMPTY),
    ("a class with a hostile metaclass, called", "{{ meta_cls() }}", REFUSED),
    ("a class with a hostile metaclass, iterated", "{% for x in meta_cls %}{{ x }}{% endfor %}", EMPTY),
    ("an object with its own HTML", "{{ html }}{{ html|e }}", either("an html objectan html object")),
    ("an object with its own HTML, |safe", "{{ html|safe }}{{ '<' ~ html }}", BOUNDED),
    ("an object with its own HTML, autoescaped", "{% autoescape true %}{{ html }}{{ html ~ '<' }}{% endautoescape %}", REFUSED),
]  # fmt: skip

# -- row 3: spending -----------------------------------------------------------------------------

SPENDING: list[Row] = [
    ("a negative lipsum", "{{ lipsum(n=-1, max=10**15) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative lipsum, then a loop", "{{ lipsum(n=-1, max=10**15) }}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", REFUSED),
    ("lipsum with a negative min", "{{ lipsum(n=1, min=-10**15, max=10)|length < 1000 }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("lipsum with min above max", "{{ lipsum(n=1, min=10**6, max=1)|length }}", REFUSED),
    ("lipsum of many", "{{ lipsum(n=10**7) }}", REFUSED),
    ("lipsum of long paragraphs", "{{ lipsum(1, false, 10**7, 10**8) }}", REFUSED),
    ("a negative width", "{{ 'x'|center(-10**15) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative repetition", "{{ 'x' * -10**15 }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative batch", "{{ [1]|batch(-10**9)|list }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative slice", "{{ [1]|slice(-10**9)|list }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative indent", "{{ 'x\ny'|indent(-10**15) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative truncate", "{{ text|truncate(-10**15, leeway=-10**16) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative range", "{{ range(0, -10**15, -1)|length }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a range that counts down", "{{ range(10**9, 0, -1)|list|length }}", REFUSED),
    ("a negative zfill", "{{ 'x'.zfill(-10**15) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative expandtabs", "{{ '\t'.expandtabs(-10**15) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a negative replacement count", "{{ big.replace('a', 'b' * 10**5, -1)|length }}", REFUSED),
    ("a negative split count", "{{ ('a ' * 10**6).split(' ', -5)|length }}", BOUNDED),
    ("a negative round", "{{ 1|round(-10**9) }}", BOUNDED),
    ("a negative wordwrap", "{{ 'a b'|wordwrap(-10**9) }}{{ ('a' * 10**7)|length }}", REFUSED),
    ("a number that is not a number", "{{ 'x' * ('nan'|float) }}", REFUSED),
    ("an infinite width", "{{ 'x'|center('inf'|float) }}", REFUSED),
    ("a true width", "{{ 'x'|center(true) }}{{ 'x' * true }}", "xx"),
]  # fmt: skip

# -- row 4: memory -------------------------------------------------------------------------------

_LOOP = "{{% for i in range({n}) %}}{body}{{% endfor %}}"


def _doubled(step: str, start: str = "'ab'", times: int = 40) -> str:
    return "{% set x = " + start + " %}" + ("{% set x = " + step + " %}") * times + "{{ x|length }}"


def _kept(expression: str, rounds: int = 99_999) -> str:
    return (
        "{% set ns = namespace(l=[]) %}{% for i in range(" + str(rounds) + ") %}"
        "{% set ns.l = [ns.l, " + expression + "] %}{% endfor %}"
    )


# A number of 14,000 bits that no constant shows
_LARGE = "{% set p = 14000 %}{% set b = 2 ** p %}"

MEMORY_ATTACKS: list[Row] = [
    ("a long separator", "{{ ('x' * 9000000).join('y' * 5000) }}", REFUSED),
    ("a separator of the limit", "{{ ('x' * 4000000).join('yyyy')|length }}", REFUSED),
    ("|join with a long separator", "{{ ('y' * 5000)|join('x' * 100000)|length }}", REFUSED),
    ("translate with a list", "{{ ('\x00' * 10**5).translate(['b' * 10**5])|length }}", REFUSED),
    ("translate with a dict", "{{ big.translate({97: 'b' * 10**5})|length }}", REFUSED),
    ("translate with a tuple", "{{ ('\x00' * 10**5).translate(('b' * 10**5,))|length }}", REFUSED),
    ("translate with a text", "{{ ('\x00' * 10**5).translate('b' * 10**5)|length }}", REFUSED),
    ("% with a mapping", "{{ ('%(a)s' * 110) % {'a': big} }}", REFUSED),
    ("% with a mapping, wide", "{{ '%(a)999999999s' % {'a': 1} }}", REFUSED),
    ("% with a star", "{{ '%*d' % (999999999, 1) }}", REFUSED),
    ("% with a precise star", "{{ '%.*f' % (999999999, 1.0) }}", REFUSED),
    ("|format with a name", "{{ ('%(a)s' * 110)|format(a=big) }}", REFUSED),
    ("|format with a width", "{{ '%(a)999999999s'|format(a=1) }}", REFUSED),
    ("% with one text many times", "{{ ('%s' * 5) % (long_a, long_a, long_a, long_a, long_a) }}", REFUSED),
    ("bytes that are multiplied", "{{ ('x' * 10**6).encode() * 10**4 }}", REFUSED),
    ("bytes that are joined", "{{ ('x' * 10**6).encode().join([('y' * 10**6).encode()] * 1000)|length }}", REFUSED),
    ("bytes that are centred", "{{ 'x'.encode().center(10**10)|length }}", REFUSED),
    ("Markup that is kept", _kept("big|safe"), BOUNDED),
    ("Markup that grows", "{% set ns = namespace(t=''|safe) %}{% for i in range(99999) %}{% set ns.t = ns.t + big|safe %}{% endfor %}", REFUSED),
    ("Markup that is multiplied", "{{ (('x'|safe) * 10**9)|length }}", REFUSED),
    ("Markup that is joined", "{{ (('x' * 10**6)|safe).join(['y'] * 5000)|length }}", REFUSED),
    ("|e of much", "{{ ('&' * 4000000)|e|length }}", REFUSED),
    ("|forceescape of much", "{{ ('&' * 4000000)|forceescape|length }}", REFUSED),
    ("|urlencode of much", "{{ ('é' * 4000000)|urlencode|length }}", REFUSED),
    ("|tojson of much", "{{ ('<' * 4000000)|tojson|length }}", REFUSED),
    ("|xmlattr of much", "{{ {'a': '&' * 4000000}|xmlattr|length }}", REFUSED),
    ("|pprint of much", "{{ ('é' * 1000000)|pprint|length }}", REFUSED),
    ("|urlize of much", "{{ ('a.com ' * 600000)|urlize|length }}", REFUSED),
    ("sorted copies that are kept", _kept("many|sort"), REFUSED),
    ("grouped copies that are kept", _kept("rows|groupby('name')"), BOUNDED),
    ("dictsort copies that are kept", _kept("dict.fromkeys(many)|dictsort"), REFUSED),
    ("unique copies that are kept", _kept("many|unique|list"), REFUSED),
    ("reversed copies that are kept", _kept("many|reverse|list"), REFUSED),
    ("batches that are kept", _kept("many|batch(2)|list"), REFUSED),
    ("slices that are kept", _kept("many[:]"), REFUSED),
    ("mapped copies that are kept", _kept("many|map('string')|list"), REFUSED),
    ("split copies that are kept", _kept("('a ' * 10**5).split()"), REFUSED),
    ("splitlines copies that are kept", _kept("('a\n' * 10**5).splitlines()"), REFUSED),
    ("partitions that are kept", _kept("long_a.partition('b')"), BOUNDED),
    ("lists of characters that are kept", _kept("big|list"), REFUSED),
    ("dicts that are kept", _kept("dict.fromkeys(many)"), REFUSED),
    ("dict copies that are kept", _kept("dict(dict.fromkeys(many))"), REFUSED),
    ("ranges as lists that are kept", _kept("range(99999)|list"), REFUSED),
    ("numbers that are kept", _kept("i * 2 ** 60000"), BOUNDED),
    ("texts that are kept", _kept("'a' * 1000000 ~ i"), REFUSED),
    ("lower copies", _LOOP.format(n=99999, body="{% set _ = long_a.lower() %}"), BOUNDED),
    ("lower copies that are printed", _LOOP.format(n=1000, body="{{ big.lower() }}"), REFUSED),
    ("lower copies that are kept", _kept("big.lower()"), REFUSED),
    ("title copies that are kept", _kept("big|title"), REFUSED),
    ("upper of letters that grow", "{{ ('ﬃ' * 3000000).upper()|length }}", REFUSED),
    ("lower of letters that grow", "{{ ('İ' * 2000000).lower()|length }}", REFUSED),
    ("|lower of letters that grow", "{{ ('İ' * 2000000)|lower|length }}", REFUSED),
    ("|upper of letters that grow", "{{ ('ﬃ' * 2000000)|upper|length }}", REFUSED),
    ("casefold of letters that grow", "{{ ('ΐ' * 3000000).casefold()|length }}", REFUSED),
    ("encode with names", "{{ ('\U0001f9d1' * 10**6).encode('ascii', 'namereplace')|length }}", REFUSED),
    ("encode with references", "{{ ('é' * 4000000).encode('ascii', 'xmlcharrefreplace')|length }}", REFUSED),
    ("encode as UTF-32", "{{ ('x' * 4000000).encode('utf-32')|length }}", REFUSED),
    ("an array times a number", "{{ (matrix * 10**8)|length }}", REFUSED),
    ("a list times a number", "{{ (l * 10**8)|length }}", REFUSED),
    ("a tuple times a number", "{{ (10**8 * t)|length }}", REFUSED),
    ("a deque times a number", "{{ (dq * 10**8)|length }}", REFUSED),
    ("a large list times a number", "{{ (many * 100)|length }}", REFUSED),
    ("a list from a range", "{{ range(10**12)|list|length }}", REFUSED),
    ("a given range as a list", "{{ huge_range|list|length }}", REFUSED),
    ("a given range, sorted", "{{ huge_range|sort|first }}", REFUSED),
    ("a given range, reversed", "{{ (huge_range|reverse|list)|length }}", REFUSED),
    ("a given range, joined", "{{ huge_range|join }}", REFUSED),
    ("a given range, in", "{{ 'x' in huge_range }}", BOUNDED),
    ("center", "{{ text.center(10**9) }}", REFUSED),
    ("|center", "{{ text|center(10**9) }}", REFUSED),
    ("ljust", "{{ text.ljust(10**9) }}", REFUSED),
    ("zfill", "{{ text.zfill(10**9) }}", REFUSED),
    ("expandtabs", "{{ ('\t' * 10**4).expandtabs(10**6)|length }}", REFUSED),
    ("replace", "{{ big.replace('a', big)|length }}", REFUSED),
    ("replace of nothing", "{{ big.replace('', 'b' * 1000)|length }}", REFUSED),
    ("|replace", "{{ big|replace('a', 'b' * 1000)|length }}", REFUSED),
    ("|indent", "{{ ('a\n' * 10**5)|indent(10**5)|length }}", REFUSED),
    ("|indent with a text", "{{ ('a\n' * 10**5)|indent('b' * 10**5)|length }}", REFUSED),
    ("|wordwrap with a text", "{{ ('a ' * 10**4)|wordwrap(1, true, 'b' * 10**5)|length }}", REFUSED),
    ("|batch with a filler", "{{ [1]|batch(10**9, 0)|list|length }}", REFUSED),
    ("|slice", "{{ [1]|slice(10**9)|list|length }}", REFUSED),
    ("|slice with a filler", "{{ [1]|slice(10**6, 'x')|list|length }}", REFUSED),
    ("|tojson with an indent", "{{ [[1]]|tojson(10**9)|length }}", REFUSED),
    ("|tojson nested with an indent", "{{ " + "[" * 40 + "1" + "]" * 40 + "|tojson(10**6)|length }}", REFUSED),
    ("|tojson, over and over", "{{ '\"'" + "|tojson" * 60 + " }}", REFUSED),
    ("|pprint, over and over", "{{ \"'\"" + "|pprint" * 60 + "|length }}", REFUSED),
    ("|urlencode, over and over", "{{ '%'" + "|urlencode" * 400 + "|length }}", BOUNDED),
    ("format's width", "{{ '{:>999999999}'.format(1) }}", REFUSED),
    ("format's width from a value", "{{ '{:>{w}}'.format(1, w=10**9) }}", REFUSED),
    ("format's precision", "{{ '{:.999999999f}'.format(1.0) }}", REFUSED),
    ("format's nested width", "{{ '{:{0}}'.format(10**9) }}", REFUSED),
    ("format many times", "{{ ('{0}' * 1000).format(big)|length }}", REFUSED),
    ("format_map many times", "{{ ('{a}' * 1000).format_map({'a': big})|length }}", REFUSED),
    ("a date's format", "{{ when.strftime('%A' * 10**6)|length }}", REFUSED),
    ("a date's wide format", "{{ when.strftime('%9999999999d')|length < 100 }}", either("True")),
    ("a date's format spec", "{{ '{:%A%A%A%A}'.format(when)|length }}", either("24")),
    ("a power", "{{ 9 ** 9999999 }}", REFUSED),
    ("a negative power's power", "{{ (2 ** 60000) ** 60000 }}", REFUSED),
    ("a float's power", "{{ 9.9 ** 999999 }}", REFUSED),
    ("a decimal's power", "{{ price ** 99999999 }}", BOUNDED),
    ("a decimal's wide format", "{{ '{:.999999f}'.format(price)|length }}", BOUNDED),
    ("a fraction's power", "{{ part ** 9999999 }}", REFUSED),
    ("a shift by doubling", "{% set ns = namespace(n=2) %}{% for i in range(64) %}{% set ns.n = ns.n * ns.n %}{% endfor %}", REFUSED),
    ("a printed number", "{{ 10 ** 5000 }}", REFUSED),
    ("a given number, printed", "{{ huge_int }}", REFUSED),
    ("a given number, multiplied", "{{ huge_int * huge_int > 0 }}", REFUSED),
    ("a given number in hex", "{{ '%x' % huge_int }}", REFUSED),
    ("to_bytes", "{{ n.to_bytes(10**9)|length }}", REFUSED),
    ("a wide value, printed", "{{ wide }}", REFUSED),
    ("a wide value, as JSON", "{{ wide|tojson }}", REFUSED),
    ("a wide value, pretty", "{{ wide|pprint }}", REFUSED),
    ("a wide value, joined", "{{ wide|join }}", REFUSED),
    ("a wide value, compared", "{{ wide == wide }}", BOUNDED),
    ("a wide value, formatted", "{{ '%s' % [wide] }}", REFUSED),
    ("a wide value by ~", "{{ 'a' ~ wide }}", REFUSED),
    ("a wide value, |string", "{{ wide|string|length }}", REFUSED),
    ("a wide value in str.format", "{wide}", REFUSED),
    ("a deep value, printed", "{{ deep }}", REFUSED),
    ("a deep value, as JSON", "{{ deep|tojson }}", REFUSED),
    ("a deep value, pretty", "{{ deep|pprint }}", REFUSED),
    ("a deep value, compared", "{{ deep == deep }}", BOUNDED),
    ("a value that holds itself", "{{ cyclic }}", either("[1, [...]]")),
    ("a value that holds itself, as JSON", "{{ cyclic|tojson }}", REFUSED),
    ("a value that holds itself, pretty", "{{ cyclic|pprint }}", REFUSED),
    ("~ forty times", _doubled("x ~ x"), REFUSED),
    ("+ forty times", _doubled("x + x"), REFUSED),
    ("* forty times", _doubled("x * 2"), REFUSED),
    ("+ of lists forty times", _doubled("x + x", "[1]"), REFUSED),
    ("+ of tuples forty times", _doubled("x + x", "(1,)"), REFUSED),
    ("* of lists forty times", _doubled("x * 2", "[1]"), REFUSED),
    ("|join forty times", _doubled("[x, x]|join"), REFUSED),
    ("|replace forty times", _doubled("x|replace('a', 'aa')"), REFUSED),
    ("format forty times", _doubled("'{0}{0}'.format(x)"), REFUSED),
    ("% forty times", _doubled("'%s%s' % (x, x)"), REFUSED),
    ("|format forty times", _doubled("'%s%s'|format(x, x)"), REFUSED),
    ("join forty times", _doubled("x.join([x, x])"), REFUSED),
    ("Markup forty times", _doubled("(x|safe) + x"), REFUSED),
    ("|string of lists forty times", _doubled("[x, x]|string"), REFUSED),
    ("a {% set %} block forty times", "{% set x = 'ab' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40, REFUSED),
    ("a {% filter %} block", "{% filter replace('a', 'b' * 10**6) %}" + "a" * 100 + "{% endfilter %}", REFUSED),
    ("lists of lists, printed", "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}", REFUSED),
    ("lists of lists, compared", "{% set x = [1] %}{% set y = [1] %}" + "{% set x = [x, x] %}{% set y = [y, y] %}" * 40 + "{{ x == y }}", REFUSED),
    ("tuples of tuples, hashed", "{% set x = (1,) %}" + "{% set x = (x, x) %}" * 40 + "{{ {x: 1}|length }}", REFUSED),
    ("dicts of dicts, as JSON", "{% set x = {} %}" + "{% set x = {'a': x, 'b': x} %}" * 40 + "{{ x|tojson }}", REFUSED),
    ("namespaces of namespaces", "{% set x = namespace() %}" + "{% set x = namespace(a=x, b=x) %}" * 40 + "{{ x }}", BOUNDED),
    ("cycler's items", "{% set x = [1] %}" + "{% set x = cycler(x, x).items %}" * 40 + "{{ x }}", EMPTY),
    ("varargs of varargs", "{% set ns = namespace(t=(1,)) %}{% macro m() %}{% set ns.t = varargs %}{% endmacro %}" + "{{ m(ns.t, ns.t) }}" * 40 + "{{ ns.t }}", REFUSED),
    ("a macro's text forty times", "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(t='ab') %}" + "{% set ns.t = m(ns.t) %}" * 40, REFUSED),
    ("a caller's text", "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}" + "{% call m() %}" * 40 + "x" + "{% endcall %}" * 40, REFUSED),
    ("an error's text", "{{ ('x' * 4000000)|int(default='y' * 4000000)|length }}", BOUNDED),
    ("an attribute's long name", "{{ user['a' * 4000000] }}", BOUNDED),
    ("a filter's long name", "{{ [1]|map('a' * 4000000)|list }}", REFUSED),
    ("|attr's long name", "{{ user|attr('a' * 4000000) }}", BOUNDED),
    ("str.format with 4 MiB of fields", "{text}" * 200_000, BOUNDED),
    ("str.format of much", "{long_a}{long_b}", REFUSED),
    ("str.format's width", "{n:999999999}", REFUSED),
    ("str.format's nested width", "{n:{huge_int}}", REFUSED),
    ("str.format's list", "{many_texts}" * 100, REFUSED),
    # what was made and never counted
    *(
        (f"{what} that are kept", start + _kept(expression), REFUSED)
        for what, start, expression in (
            ("products of large numbers", _LARGE, "i * b"),
            ("negations of large numbers", _LARGE, "-b"),
            ("|abs of large numbers", _LARGE, "(b|abs) + i"),
            ("|int of long texts", "{% set b = '9' * 4000 %}", "b|int"),
            ("copies of a text of its own class", "", "long_sub.text ~ i"),
        )
    ),
    ("views of a text of its own class that are kept", _kept("long_sub.text", 9_000), BOUNDED),
    ("the keys of a dictionary that are kept", _kept("entries['keys']", 9_000), REFUSED),
    *(
        (f"lists of {what} that are kept", start + _kept("[" + ", ".join([expression] * 300) + "]", 9_000), REFUSED)
        for what, start, expression in (
            ("negations", _LARGE, "-b"),
            ("methods", "{% set t = 'a' %}", "t.upper"),
            ("undefined items", "", "d.zz"),
            ("undefined names", "", "zz"),
            ("views", "", "d.list"),
        )
    ),
    ("varargs of methods that are kept", "{% set ns = namespace(l=[]) %}{% macro m() %}{% set ns.l = [ns.l, varargs] %}{% endmacro %}{% for i in range(9000) %}{{ m(" + ", ".join(["d.get"] * 300) + ") }}{% endfor %}", REFUSED),
    ("the names of what is not there", "{% set k = 'a' * 4000000 %}{% set l = [" + "d[k], " * 300 + "] %}{{ l|length }}", "300"),
    *(
        (f"the pieces of {name}", "{% set e = '' %}" + start + "{% for i in range(99999) %}" + piece * 110 + "{% endfor %}" + end, REFUSED)
        for name, start, end in (("a {% set %} block", "{% set x %}", "{% endset %}"), ("a macro", "{% macro m() %}", "{% endmacro %}{{ m() }}"), ("a {% filter %} block", "{% filter upper %}", "{% endfilter %}"))
        for piece in ("{{ e }}",)
    ),
    ("the numbers in a {% set %} block", "{% set x %}{% for i in range(99999) %}" + "{{ i }}" * 40 + "{% endfor %}{% endset %}", REFUSED),
    ("the large numbers in a {% set %} block", _LARGE + "{% set x %}{% for i in range(99999) %}{{ b // 2 ** 4000 }}{% endfor %}{% endset %}", REFUSED),
    ("|slice into many", "{{ [1]|slice(400000, 'x')|list|length }}", REFUSED),
    *(
        (f"|{name} by a long path", "{{ [1]|" + name + call + "|string|length }}", REFUSED)
        for name, call in {
            "map": "(attribute='ab.' * 1300000)|list",
            "selectattr": "('ab.' * 1300000)|list",
            "groupby": "('ab.' * 1300000)",
            "sort": "(attribute='ab,' * 1300000)",
            "unique": "('x', 'ab.' * 1300000)|list",
            "min": "(attribute='ab.' * 1300000)",
            "sum": "('ab.' * 1300000)",
            "join": "('', 'ab.' * 1300000)",
        }.items()
    ),
    *(
        (f"a list of lists, escaped by {call}", "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ ('a'|safe)." + call + "|length }}", REFUSED)
        for call in ("join([x])", "replace('a', x)", "center(9, x)", "ljust(9, x)", "rjust(9, x)")
    ),
    ("large numbers, escaped by join", _LARGE + "{{ (''|safe).join([b // 2 ** 4000] * 100000)|length }}", REFUSED),
    *(
        (f"large numbers in a list, {name}", _LARGE + "{% set c = b // 2 ** 4000 %}{{ " + expression + "|length }}", REFUSED)
        for name, expression in {
            "printed": "([c] * 20000)|string",
            "as JSON": "([c] * 20000)|tojson",
            "pretty": "([c] * 20000)|pprint",
            "by %": "('%s' % [[c] * 20000])",
            "as an attribute": "{'a': [c] * 20000}|xmlattr",
            "for an address": "{'a': [c] * 20000}|urlencode",
        }.items()
    ),
    ("leading noughts of a width by %", "{{ '%-000000000999999999d' % 1 }}", REFUSED),
    ("leading noughts of a precision by %", "{{ '%.000000000999999999d' % 1 }}", REFUSED),
    ("leading noughts of a width", "{{ '{:<0000000000999999999}'.format('x')|length }}", REFUSED),
    ("leading noughts of a precision", "{n:.0000000000999999999f}", REFUSED),
    ("ascii of wide letters", "{{ '{!a}'.format('🧑' * 4000000)|length }}", REFUSED),
    ("repr of controls", "{{ '{!r}'.format('' * 4000000)|length }}", REFUSED),
]  # fmt: skip

# -- row 5: freezes, row 6: time -------------------------------------------------------------------

_SEARCHES = ("find", "rfind", "index", "rindex", "count", "split", "rsplit", "partition", "rpartition", "replace")  # fmt: skip
_HARD_HAYSTACKS = {
    "as and a b": ("'a' * 2000000", "'a' * 1000000 ~ 'b'"),
    "as and a leading b": ("'a' * 2000000", "'b' ~ 'a' * 1000000"),
    "two letters": ("'ab' * 1000000", "'ab' * 300000 ~ 'c'"),
    "a middle": ("'a' * 2000000", "'a' * 500000 ~ 'b' ~ 'a' * 500000"),
}

FREEZES: list[Row] = [
    *(
        (f"{method} of {kind}", "{{ (" + hay + ")." + method + "(" + needle + (", ''" if method == "replace" else "") + ")|string|length < 0 }}", either("False"))
        for method in _SEARCHES
        for kind, (hay, needle) in _HARD_HAYSTACKS.items()
    ),
    *(
        (f"in of {kind}", "{{ (" + needle + ") in (" + hay + ") }}", either("False"))
        for kind, (hay, needle) in _HARD_HAYSTACKS.items()
    ),
    ("rsplit of one letter", "{{ ('a' * 4000000).rsplit('a')|length }}", BOUNDED),
    ("split of blanks", "{{ (' a' * 2000000).split()|length }}", BOUNDED),
    ("splitlines of ends", "{{ ('\r' * 4000000).splitlines()|length }}", BOUNDED),
    ("translate with keys that share a hash", "{% set m = 2 ** 61 - 1 %}{% set t = dict(range(233 + 2600 * m, 232, -m)|batch(2, 1)|list) %}{{ ('é' * 240000).translate(t)|length }}", REFUSED),
    ("names of what is not there, over and over", "{% set k = 'a' * 4000000 %}{% for i in range(1000) %}" + "{{ d[k] }}" * 10 + "{% endfor %}", BOUNDED),
    ("|map by a path without an end", "{{ range(90000)|map(attribute='real.' * 80000 ~ 'real')|list|length }}", REFUSED),
    ("|map by a path of the limit", "{{ [1, 2, 3]|map(attribute='real.' * 800000 ~ 'real')|list }}", REFUSED),
    ("a recursive loop of much", "{% for i in [0] recursive %}{% if loop.depth == 1 %}{{ loop(range(99999)) }}{% else %}" + "{% if n %}{% endif %}" * 700 + "{% endif %}{% endfor %}", REFUSED),
    ("an expression that is long to compile", "{% set l = [" + "d[n]," * 3200 + "] %}{{ l|length }}", BOUNDED),
    *(
        (f"looking up {name}, over and over", "{% for i in range(60000) %}" + ("{% if " + name + " %}{% endif %}") * 60 + "{% endfor %}", REFUSED)
        for name in ("pair.left", "l[0]", "long_sub.text", "color.value")
    ),
    ("|first of a long list, over and over", "{% for i in range(3000) %}{{ many|first }}{% endfor %}", "0" * 3000),
    ("strip with many characters", "{{ ('a' * 2000000).strip('b' * 1000000)|length }}", either("2000000")),
    ("strip with many wide characters", "{{ ('é' * 2000000).strip('ж' * 1000000 ~ 'é')|length }}", either("0")),
    ("lstrip with many characters", "{{ ('a' * 2000000).lstrip('b' * 1000000 ~ 'a')|length }}", either("0")),
    ("rstrip with many characters", "{{ ('a' * 2000000).rstrip('b' * 1000000 ~ 'a')|length }}", either("0")),
    ("|trim with many characters", "{{ ('a' * 2000000)|trim('b' * 1000000 ~ 'a')|length }}", either("0")),
    ("startswith of many", "{{ long_a.startswith((long_b,) * 100000) }}", either("False")),
    ("endswith of many", "{{ long_a.endswith((long_b,) * 100000) }}", either("False")),
    ("fromkeys of colliding numbers", "{{ dict.fromkeys(colliding)|length }}", either("20000")),
    ("a dict of colliding numbers", "{% set ns = namespace(l=[]) %}{{ dict.fromkeys(range(0, 2305843009213693951 * 20000, 2305843009213693951))|length }}", either("20000")),
    ("unique of colliding numbers", "{{ colliding|unique|list|length }}", either("20000")),
    ("groupby of colliding numbers", "{{ colliding|groupby('real')|length }}", BOUNDED),
    ("in of long equal texts", "{{ ('a' * 20000 ~ 'c') in equal_texts }}", either("False")),
    ("count of long equal texts", "{{ equal_texts.count('a' * 20000 ~ 'b') }}", either("2000")),
    ("index of long equal texts", "{{ equal_texts.index('a' * 20000 ~ 'c') }}", REFUSED),
    ("unique of long equal texts", "{{ equal_texts|unique|list|length }}", either("1")),
    ("sort of long equal texts", "{{ equal_texts|sort|length }}", either("2000")),
    ("sort without case of long equal texts", "{{ equal_texts|sort(case_sensitive=false)|length }}", either("2000")),
    ("== of long equal lists", "{{ equal_texts == equal_texts|map('string')|list }}", BOUNDED),
    ("== of long equal texts, over and over", _LOOP.format(n=99999, body="{% if long_a == long_b %}{% endif %}"), BOUNDED),
    ("< of long equal texts, over and over", _LOOP.format(n=99999, body="{% if long_a < long_b %}{% endif %}"), BOUNDED),
    ("in of a long text, over and over", _LOOP.format(n=99999, body="{% if 'b' in long_a %}{% endif %}"), BOUNDED),
    ("~ of a long text, over and over", _LOOP.format(n=99999, body="{% set _ = long_a ~ i %}"), BOUNDED),
    ("a slice of a long text, over and over", _LOOP.format(n=99999, body="{% set _ = long_a[1:] %}"), BOUNDED),
    ("a backward slice of a long text", _LOOP.format(n=999, body="{% set _ = long_a[::-1] %}"), BOUNDED),
    ("length of a long text, over and over", _LOOP.format(n=99999, body="{% set _ = long_a|length %}"), BOUNDED),
    ("|string of a long list, over and over", _LOOP.format(n=99999, body="{% set _ = many|string %}"), BOUNDED),
    ("|max of long texts", "{{ equal_texts|max|length }}", either("20001")),
    ("|min of long texts", "{{ equal_texts|min(case_sensitive=true)|length }}", either("20001")),
    ("|max of one long text", "{{ long_a|max }}", either("a")),
    ("|sum of lists", "{{ ([many] * 100)|sum(start=[])|length }}", REFUSED),
    ("|sum of texts", "{{ (['a' * 100000] * 1000)|sum(start='')|length }}", REFUSED),
    ("|sort of many", "{{ many|sort(reverse=true)|first }}", either("99999")),
    ("|sort of many texts", "{{ many_texts|sort|first }}", either("000")),
    ("|dictsort of many", "{{ dict.fromkeys(many_texts)|dictsort|first }}", BOUNDED),
    ("|groupby of many", "{{ many|groupby('real')|length }}", BOUNDED),
    ("|wordwrap", "{{ big|wordwrap(1)|length }}", BOUNDED),
    ("|wordwrap of blanks", "{{ (' ' * 1000000)|wordwrap(1)|length }}", BOUNDED),
    ("|wordwrap with Unicode blanks", "{{ ('\u2003' * 1000000)|wordwrap(79)|length }}", BOUNDED),
    ("|wordwrap with many kinds of blanks", "{{ ('\u2003\u00a0\x1c \x85' * 200000)|wordwrap(79)|length }}", BOUNDED),
    ("|wordwrap of hyphens", "{{ ('a-' * 500000)|wordwrap(79)|length }}", BOUNDED),
    ("|wordwrap of hyphens only", "{{ ('-' * 1000000)|wordwrap(79)|length }}", BOUNDED),
    ("|wordwrap without long words", "{{ ('a-b' * 100000)|wordwrap(3, false)|length }}", BOUNDED),
    ("|urlize of brackets", "{{ ('(' * 100000 ~ ')' * 100000)|urlize|length }}", REFUSED),
    ("|urlize of points", "{{ ('.' * 1000000)|urlize|length }}", REFUSED),
    ("|urlize of an address", "{{ ('http://' ~ 'a.' * 500000)|urlize|length }}", REFUSED),
    ("|urlize of a mail", "{{ ('a@' ~ 'a.' * 500000)|urlize|length }}", REFUSED),
    ("|urlize of words", "{{ ('a ' * 500000)|urlize|length }}", REFUSED),
    ("|urlize of entities", "{{ ('&lt;' * 200000)|urlize|length }}", REFUSED),
    ("|striptags of opening tags", "{{ ('<' * 1000000)|striptags|length }}", REFUSED),
    ("|striptags of comments", "{{ ('<!--' * 250000)|striptags|length }}", REFUSED),
    ("|striptags of blanks", "{{ (' ' * 4000000)|striptags|length }}", REFUSED),
    ("|striptags of entities", "{{ ('&#1' * 1000000)|striptags|length }}", REFUSED),
    ("Markup.unescape", "{{ (('&amp' * 1000000)|safe).unescape()|length }}", REFUSED),
    ("|title of words", "{{ ('a ' * 2000000)|title|length }}", BOUNDED),
    ("|wordcount", "{{ ('a ' * 2000000)|wordcount }}", either("2000000")),
    ("|truncate", "{{ ('a ' * 2000000)|truncate(3999990)|length }}", BOUNDED),
    ("|int of a long text", "{{ ('9' * 4000000)|int }}", either("0")),
    ("|int of a long hex text", "{{ ('f' * 4000000)|int(0, 16) > 0 }}", BOUNDED),
    ("|int of a long text in base 36", "{{ ('z' * 1000000)|int(0, 36) > 0 }}", BOUNDED),
    ("|float of a long text", "{{ ('9' * 4000000)|float }}", either("inf", "0.0")),
    ("|filesizeformat of a large number", "{{ (2 ** 60000)|filesizeformat }}", BOUNDED),
    ("|round of a large number", "{{ (2 ** 60000)|round(3) }}", BOUNDED),
    ("encode as punycode", "{{ ('ü' * 1000000).encode('punycode')|length }}", REFUSED),
    ("encode as punycode, spelt differently", "{{ ('ü' * 1000000).encode('punycode-')|length }}", REFUSED),
    ("encode as Punycode", "{{ ('ü' * 1000000).encode('PUNYCODE')|length }}", REFUSED),
    ("encode as idna", "{{ ('ü' * 1000000).encode('idna')|length }}", REFUSED),
    ("encode as idna, spelt differently", "{{ ('ü' * 100000).encode(' idna ')|length }}", REFUSED),
    ("encode as utf-7", "{{ ('ü' * 1000000).encode('utf-7')|length }}", BOUNDED),
    ("encode as bz2", "{{ ('a' * 1000000).encode('bz2')|length }}", REFUSED),
    ("encode as raw_unicode_escape", "{{ ('\U0001f9d1' * 1000000).encode('raw_unicode_escape')|length }}", REFUSED),
    ("isidentifier", "{{ long_a.isidentifier() }}", either("True")),
    ("long divisions, over and over", "{% set a = 9 ** 30000 %}{% set b = 9 ** 15000 %}" + _LOOP.format(n=99999, body="{{ (a // b) == 1 }}"), BOUNDED),
    ("long products, over and over", "{% set a = 9 ** 15000 %}" + _LOOP.format(n=99999, body="{% set _ = a * a %}"), BOUNDED),
    ("a huge number's remainder", "{{ huge_int % 7 }}", BOUNDED),
    ("a huge number's division", "{{ huge_int // (2 ** 60000 + 1) > 0 }}", BOUNDED),
    ("a huge number is divisible", "{{ huge_int is divisibleby(3 ** 30000) }}", BOUNDED),
    ("a huge number as a float", "{{ huge_int / 3 }}", REFUSED),
    ("a huge number, bit_length", "{{ huge_int.bit_length() }}", either("3000001")),
    ("a set of many", "{{ s.union(many)|length }}", BOUNDED),
    ("a set's difference, over and over", _LOOP.format(n=9999, body="{% set _ = s.union(many) %}"), BOUNDED),
    ("a long text as a key, over and over", _LOOP.format(n=99999, body="{% set _ = {long_a ~ i: 1} %}"), BOUNDED),
    ("loops in loops", _LOOP.format(n=99999, body=_LOOP.format(n=99999, body="")), REFUSED),
    ("loops that select nothing", "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}", REFUSED),
    ("a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", REFUSED),
    ("a macro that calls itself twice", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", REFUSED),
    ("macros that call each other", "{% macro a(n) %}{{ b(n) }}{{ b(n) }}{% endmacro %}{% macro b(n) %}{% if n < 60 %}{{ a(n + 1) }}{% endif %}{% endmacro %}{{ a(0) }}", REFUSED),
    ("a loop that recurses", "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", REFUSED),
    ("a loop that recurses twice", "{% for a in [60] recursive %}{% if a %}{{ loop([a - 1]) }}{{ loop([a - 1]) }}{% endif %}{% endfor %}", REFUSED),
    ("a block that shows itself", "{% block a %}{{ self.a() }}{% endblock %}", REFUSED),
    ("maps over a range, over and over", _LOOP.format(n=99999, body="{{ range(99999)|map('abs')|sum }}"), REFUSED),
    ("sorts of a range, over and over", _LOOP.format(n=99999, body="{{ range(99999)|sort|length }}"), REFUSED),
    ("lengths of a range's list, over and over", _LOOP.format(n=99999, body="{{ range(99999)|list|length }}"), REFUSED),
    ("selects over a range, over and over", _LOOP.format(n=99999, body="{{ range(99999)|select('odd')|list|length }}"), REFUSED),
    ("slices of many, over and over", _LOOP.format(n=99999, body="{% set _ = many[1:] %}"), BOUNDED),
    ("in many, over and over", _LOOP.format(n=99999, body="{% if -1 in many %}{% endif %}"), BOUNDED),
    ("a long loop body", "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}", REFUSED),
    ("brackets that nest", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", REFUSED),
    ("lists that nest", "{{ " + "[" * 5000 + "]" * 5000 + " }}", REFUSED),
    ("nots in a row", "{{ " + "not " * 50000 + "1 }}", REFUSED),
    ("minuses in a row", "{{ " + "-" * 50000 + "1 }}", REFUSED),
    ("filters in a row", "{{ 'a'" + "|upper" * 20000 + " }}", REFUSED),
    ("attributes in a row", "{{ d" + ".a" * 50000 + " }}", REFUSED),
    ("ifs that nest", "{% if 1 %}" * 500 + "{% endif %}" * 500, REFUSED),
    ("fors that nest", "{% for i in [1] %}" * 60 + "{% endfor %}" * 60, REFUSED),
    ("sums in a row", "{{ 1" + "+1" * 50000 + " }}", REFUSED),
    ("conditions in a row", "{{ 1" + " if 1 else 1" * 5000 + " }}", REFUSED),
    ("elifs in a row", "{% if 0 %}" + "{% elif 0 %}" * 20000 + "{% endif %}", BOUNDED),
    ("unclosed strings", "{{ '" * 100000, REFUSED),
    ("unclosed comments", "{# " * 300000 + "{{", REFUSED),
    ("unclosed raws", "{% raw %}" * 50000, REFUSED),
    ("blanks in tags", "{{" + " " * 1000000 + "1 }}", BOUNDED),
    ("blanks before tags", (" " * 1000 + "{%- set a = 1 %}\n") * 1000, BOUNDED),
    ("lines without an end", "{{ 1 }}" + "\n" * 500000 + "{%- if 1 %}{% endif %}", BOUNDED),
    ("a long number", "{{ " + "9" * 100000 + " }}", REFUSED),
    ("a long float", "{{ 1e" + "9" * 100000 + " }}", BOUNDED),
    ("a long number with underscores", "{{ 1" + "_1" * 100000 + " }}", REFUSED),
    ("escapes in a text", "{{ '" + "\\N{DIGIT ONE}" * 50000 + "'|length }}", BOUNDED),
    ("str.format fields in a row", "{a.__1}" * 10000, REFUSED),
    ("str.format that nests", "{" * 50000 + "}" * 50000, BOUNDED),
    ("str.format's long name", "{" + "a" * 1000000 + "}", REFUSED),
    ("str.format's many attributes", "{d" + ".a" * 100000 + "}", REFUSED),
    ("str.format's many items", "{l" + "[0]" * 100000 + "}", either("3")),
]  # fmt: skip

# -- published escapes of Jinja's sandbox ---------------------------------------------------------

ESCAPES: list[Row] = [
    ("the classic chain", "{{ ''.__class__.__mro__[1].__subclasses__() }}", REFUSED),
    ("cycler's globals", "{{ cycler.__init__.__globals__.os.popen('touch stolen').read() }}", REFUSED),
    ("joiner's globals", "{{ joiner.__init__.__globals__.os }}", REFUSED),
    ("namespace's globals", "{{ namespace.__init__.__globals__ }}", REFUSED),
    ("lipsum's globals", "{{ lipsum.__globals__['os'].popen('touch stolen').read() }}", REFUSED),
    ("lipsum's globals by |attr", "{{ (lipsum|attr('__glo' ~ 'bals__')) }}", EMPTY),
    ("range's class", "{{ range.__class__ }}", REFUSED),
    ("dict's bases", "{{ dict.__bases__[0].__subclasses__() }}", REFUSED),
    ("dict's mro by item", "{{ dict['mr' ~ 'o']() }}", REFUSED),
    ("self's context", "{{ self._TemplateReference__context.cycler.__init__.__globals__.os }}", REFUSED),
    ("self's init", "{{ self.__init__.__globals__.__builtins__ }}", REFUSED),
    ("an undefined's globals", "{{ undefined_name.__class__.__init__.__globals__ }}", REFUSED),
    ("an undefined's error", "{{ undefined_name._undefined_exception }}", EMPTY),
    ("an undefined's failure", "{{ undefined_name._fail_with_undefined_error }}", EMPTY),
    ("a loop's insides", "{% for i in l %}{{ loop._iterator }}{% endfor %}", EMPTY),
    ("a loop's cycle's function", "{% for i in [1] %}{{ loop.cycle.__func__.__globals__ }}{% endfor %}", REFUSED),
    ("a loop's class", "{% for i in l %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}", REFUSED),
    ("a macro's insides", "{% macro m() %}{% endmacro %}{{ m._func }}{{ m._environment }}", EMPTY),
    ("a macro's environment", "{% macro m() %}{% endmacro %}{{ m._environment.compile_expression('1') }}", REFUSED),
    ("a caller's insides", "{% macro m() %}{{ caller._func.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}", REFUSED),
    ("a namespace's insides", "{% set ns = namespace(a=1) %}{{ ns._Namespace__attrs }}", EMPTY),
    ("a namespace's class that is set", "{% set ns = namespace() %}{% set ns.__class__ = 1 %}", BOUNDED),
    ("format's attributes", "{{ '{0.__class__}'.format(user) }}", REFUSED),
    ("format's attributes, put together", "{{ ('{0.__cl' ~ 'ass__}').format(user) }}", EMPTY),
    ("format_map's attributes", "{{ ('{a.__cl' ~ 'ass__}').format_map({'a': user}) }}", EMPTY),
    ("an indirect format", "{{ (('{0.__cl' ~ 'ass__}')|attr('format'))(user) }}", REFUSED),
    ("an indirect format by |map", "{% for f in ['{0._sec' ~ 'ret}']|map(attribute='format') %}{{ f(user) }}{% endfor %}", EMPTY),
    ("an indirect format by |map of a method", "{{ [user]|map(('{0._sec' ~ 'ret}').format)|list }}", REFUSED),
    ("an indirect format in a default", "{% set f = ('{0._sec' ~ 'ret}').format %}{{ f(user) }}", EMPTY),
    ("an indirect format in a dict", "{{ {'f': ('{0._sec' ~ 'ret}').format}.f(user) }}", EMPTY),
    ("an indirect format in a cycler", "{{ cycler(('{0._sec' ~ 'ret}').format).next()(user) }}", EMPTY),
    ("Markup's format", "{{ (('{0.__cl' ~ 'ass__}')|safe).format(user) }}", EMPTY),
    ("Markup's formatter with an HTML format", "{{ ('{0:x}'|safe).format(html) }}", REFUSED),
    ("|xmlattr with a key of blanks", "{{ {'a onload=x': 1}|xmlattr }}", REFUSED),
    ("|xmlattr with a key of an end", "{{ {'a>': 1}|xmlattr }}", REFUSED),
    ("|attr to a format", "{{ ('{0._secret}'|attr('format'))(user) }}", REFUSED),
    ("|attr to a method", "{{ (d|attr('clear'))() }}", REFUSED),
    ("|attr that reads", "{{ ''|attr('__class__') }}", REFUSED),
    ("a filename in a template's error", "{% include 'x' ~ '{{ 1 }}' %}", REFUSED),
    ("an include", "{% include '/etc/passwd' %}", REFUSED),
    ("an include of a variable", "{% include path %}", REFUSED),
    ("an include that may be missing", "{% include 'x' ignore missing %}", REFUSED),
    ("an import", "{% import 'os' as os %}{{ os }}", REFUSED),
    ("a from-import", "{% from 'os' import popen %}", REFUSED),
    ("a parent", "{% extends user %}", REFUSED),
    ("the do extension", "{% do l.append(1) %}", REFUSED),
    ("the debug extension", "{% debug %}", REFUSED),
    ("gettext", "{{ gettext('x') }}", REFUSED),
    ("the translation extension", "{% trans %}x{% endtrans %}", REFUSED),
    ("the compiler's own name", "{{ environment }}{{ context }}{{ resolve }}{{ missing }}{{ l_0_x }}", ""),
    ("the compiler's own argument", "{{ dict(_loop_vars={'a': 1}) }}{{ dict(_block_vars=1) }}", BOUNDED),
    ("the loop's variables by a caller", "{% for i in [1] %}{{ dict(a=1) }}{% endfor %}", "{'a': 1}"),
    ("get_or_select_template", "{{ self.environment.from_string('x').render() }}", REFUSED),
    ("blocks that are called", "{{ self.a.__call__ }}{% block a %}{% endblock %}", REFUSED),
    ("blocks' stack", "{{ self.a._stack }}{% block a %}{% endblock %}", EMPTY),
    ("super's insides", "{% block a %}{{ super._context }}{% endblock %}", EMPTY),
    ("a text's maketrans", "{{ ''.maketrans('a', 'b') }}", BOUNDED),
    ("a look-alike of the underscore", "{{ user.\uff3fsecret }}", EMPTY),
    ("a look-alike of the underscore by item", "{{ user['\uff3fsecret'] }}", EMPTY),
    ("a look-alike by |attr", "{{ user|attr('\ufe33secret') }}", EMPTY),
    ("a name from hex escapes", "{{ user['\\x5f\\x5fclass\\x5f\\x5f'] }}", EMPTY),
    ("a name from Unicode escapes", "{{ user['\\u005fsecret'] }}", EMPTY),
    ("a name that is reversed", "{{ user['terces_'[::-1]] }}", EMPTY),
    ("a name that is replaced", "{{ user['-secret'|replace('-', '_')] }}", EMPTY),
    ("a name that is formatted", "{{ user['%csecret' % 95] }}", EMPTY),
    ("a name of letters", "{{ user[['_', 'secret']|join] }}", EMPTY),
    ("a name from a loop", "{% for c in ['_sec' ~ 'ret'] %}{{ user[c] }}{% endfor %}", EMPTY),
    ("a name from a given text", "{{ user[text|replace('abc', '_' ~ 'secret')] }}", EMPTY),
    ("a name from a number", "{{ user[0] }}", EMPTY),
    ("a name from Markup", "{{ user[('_sec' ~ 'ret')|safe] }}", EMPTY),
    ("a name from a hostile text", "{{ user[hostile_str] }}", EMPTY),
    ("a private key of a mapping", "{{ d['_x'] }}{{ {'_x': 1}['_x'] }}", either("1")),
    ("a mapping's method over its key", "{{ d.items()|list|length }}{{ d['items'] }}", "3own"),
    ("autoescape of an expression", "{% autoescape text|center(10**9) %}{% endautoescape %}", REFUSED),
    ("a filter's hidden name", "{{ ['a']|map('cen' ~ 'ter', 10**9)|list|length }}", REFUSED),
    ("a filter's hidden attribute", "{{ [user]|map('at' ~ 'tr', '_sec' ~ 'ret')|list|length }}", either("1")),
    ("a filter that needs the context", "{{ ['_sec']|map('map', 'attr', user)|list }}", BOUNDED),
    ("a test's hidden name", "{{ ['a']|select('__cl' ~ 'ass__')|list }}", REFUSED),
    ("a filter test", "{{ 'os' is filter }}{{ 'upper' is filter }}", "FalseTrue"),
    ("a block name that is private", "{% block __init__ %}{% endblock %}{{ self.__init__ }}", REFUSED),
    ("a macro's keyword", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(**{'a': user})|length > 0 }}", BOUNDED),
    ("a set of a private name", "{% set _x = user %}{{ _x.name }}", "Ada"),
    ("a with of a private name", "{% with _x = user %}{{ _x._secret }}{% endwith %}", EMPTY),
]  # fmt: skip

# -- row 7, the format dialect: leaks and limits for each prompt ------------------------------------

FORMAT: list[Row] = [
    ("a field", "{user.name} {d[a]} {n:>4} {text!r} {price:.1f} {when:%Y}", "Ada 1    3 'abc' 1.5 2026"),
    ("a class", "{user.__class__}", REFUSED),
    ("globals", "{user.__init__.__globals__[os].environ[PATH]}", REFUSED),
    ("a private attribute", "{user._secret}", REFUSED),
    ("a property", "{user.balance}", REFUSED),
    ("a cached property", "{user.loaded}", REFUSED),
    ("a class attribute", "{user.kind}", REFUSED),
    ("a method, printed", "{user.greet}", REFUSED),
    ("a method's object", "{user.greet.__self__}", REFUSED),
    ("a function's code", "{func.__code__}", REFUSED),
    ("a module", "{module.environ}", REFUSED),
    ("a module's item", "{module.environ[HOME]}", REFUSED),
    ("the environment", "{environ[HOME]}", BOUNDED),
    ("a generator's frame", "{gen.gi_frame}", REFUSED),
    ("a frame", "{frame.f_globals}", REFUSED),
    ("an error's traceback", "{error.__traceback__}", REFUSED),
    ("a model's secret", "{model.password._secret_value}", REFUSED),
    ("a model's fields", "{model.name} {model.nickname} {model.address.city}", "Ada Countess Paris"),
    ("a model's private attribute", "{model._token}", REFUSED),
    ("a model's computed field", "{model.score}", REFUSED),
    ("a model's class data", "{model.model_config}", REFUSED),
    ("an item of a list, which is a text there", "{messages[1].content}", REFUSED),
    ("a message's class data", "{messages[0].lc_secrets}", REFUSED),
    ("an enum", "{color.name} {color.value} {color}", "RED red Color.RED"),
    ("an enum's insides", "{color._value_}", REFUSED),
    ("a named tuple", "{pair.left} {pair[1]}", "1 two"),
    ("a dataclass", "{point.x} {point.ys}", "1 [2]"),
    ("an object that answers everything", "{dynamic.anything}", REFUSED),
    ("a sequence by __getitem__", "{rows_like[0]}", REFUSED),
    ("a mapping that makes values", "{defaulting[b]}", REFUSED),
    ("a defaultdict that grows", "{dd[new]}", REFUSED),
    ("a hostile object", "{hostile}", ("hostile-format", "hostile-str")),
    ("a hostile object with a spec", "{hostile:>9}", REFUSED),
    ("a hostile object, !r", "{hostile!r}", "hostile-repr"),
    ("a hostile object, !a", "{hostile!a}", "hostile-repr"),
    ("a hostile object's item", "{hostile[a]}", REFUSED),
    ("a hostile text", "{hostile_str}", "hostile-str"),
    ("a hostile number as a width", "{n:{hostile_int}}", either("    3")),
    ("a hostile object as a width", "{n:{hostile}}", REFUSED),
    ("a hostile list", "{hostile_list}", either("1, 2", "hostile-str")),
    ("a metaclass", "{meta_cls.anything}", REFUSED),
    ("a pretender with a spec", "{pretender:>20}", REFUSED),
    ("an object with HTML", "{html}", "an html object"),
    ("a file", "{opened.name}", REFUSED),
    ("a generator, printed", "{gen}", BOUNDED),
    ("a width from a text", "{n:{text}}", REFUSED),
    ("a spec for a list", "{l:>5}", BOUNDED),
    ("a spec of another type", "{text:d}", REFUSED),
    ("a secret with a wrong spec", "{api_key:d}", REFUSED),
    ("a secret as a spec", "{n:{api_key}}", REFUSED),
    ("a secret as a spec of a date", "{when:{api_key}}", either("SECRET-9d1f")),
    ("a precise decimal", "{price:.99999999f}", REFUSED),
    ("a precise float", "{ratio:.99999999f}", REFUSED),
    ("a grouped number", "{n:,}{n:_}", "33"),
    ("a padded text", "{text:*^9}", "***abc***"),
    ("positional fields", "{0}{1}", REFUSED),
    ("an automatic field", "{}", REFUSED),
    ("a nested field's attribute", "{n:{user.__class__}}", REFUSED),
    ("an item with a private name", "{d[__class__]}", REFUSED),
    ("a very long item name", "{d[" + "a" * 100000 + "]}", REFUSED),
    ("a huge index", "{l[99999999999999999999]}", REFUSED),
    ("a negative index", "{l[-1]}", REFUSED),
]  # fmt: skip


def _messages(text: str, count: int, **more: Any) -> dict[str, Any]:
    return {"system": [text] * count, "user": "go", **more}


LIMITS: list[Row] = [
    ("120 messages of much", _messages("{{ 'x' * 4000000 }}", 120), REFUSED),
    ("120 messages of a given text", _messages("{{ long_a }}", 120), REFUSED),
    ("120 messages of a given text, str.format", _messages("{long_a}", 120), REFUSED),
    ("120 segments of much", {"system_segments": [{"content": "{{ 'x' * 4000000 }}"}] * 120, "user": "go"}, REFUSED),
    ("five messages of one MiB", _messages("{{ big }}", 5), REFUSED),
    ("five messages of one MiB, str.format", _messages("{big}", 5), REFUSED),
    ("three messages of one MiB", _messages("{{ big[:1000] }}{{ big|length }}", 3), "\n".join(["a" * 1000 + "1048576"] * 3) + "\ngo"),
    ("system and user of three MiB each", {"system": "{{ big }}{{ big }}{{ big }}", "user": "{{ big }}{{ big }}{{ big }}"}, REFUSED),
    ("messages of many rounds", _messages("{% for i in range(90000) %}{% endfor %}{% for i in range(90000) %}{% endfor %}", 30), REFUSED),
    ("messages that take long", _messages("{% for i in range(99999) %}{% set _ = long_a.lower() %}{% endfor %}", 50), BOUNDED),
    ("messages that each keep much", _messages("{% set x = many|list %}{% set y = big ~ big %}", 60), BOUNDED),
    ("messages of plain text beyond the limit", {"system": ["x" * 500_000] * 10, "user": "go"}, REFUSED),
    ("one message of plain text beyond the limit", {"system": "x" * 5_000_000, "user": "go"}, REFUSED),
    ("a text of exactly the limit", "{{ long_a|length }}{{ 'x' * (4 * 1024 * 1024 - 7) }}", BOUNDED),
    ("a text above the limit", "{{ long_a }}x", REFUSED),
    ("a text above the limit, str.format", "{long_a}x", REFUSED),
]  # fmt: skip

# -- row 13: changing what was given ---------------------------------------------------------------

CHANGES: list[Row] = [
    *(
        (f"{name}.{call}", "{{ " + f"{name}.{call}" + " }}", REFUSED)
        for name, calls in {
            "l": "append(1) extend([1]) insert(0,1) remove(3) pop() clear() sort() reverse()",
            "d": "clear() pop('a') popitem() setdefault('z',1) update(z=1)",
            "s": "add(9) clear() discard(1) remove(1) pop() update([9]) difference_update([1]) intersection_update([]) symmetric_difference_update([1])",
            "dq": "append(1) appendleft(1) rotate() clear() pop() popleft() extend([1]) extendleft([1]) reverse() insert(0,1)",
            "counter": "subtract(['a']) update(['a']) clear() most_common() elements()",
            "od": "move_to_end('a') popitem() clear()",
            "dd": "setdefault('x',1) clear()",
            "chain_map": "pop('a') clear() update(z=1)",
            "ba": "append(1) clear() reverse()",
            "model": "model_post_init(none) model_rebuild() update_forward_refs()",
            "user": "__setattr__('name','x') __init__()",
            "money": "drain() formatted()",
            "simple": "__dict__.clear() __dict__.update(a=1)",
            "lock": "release()",
            "error": "with_traceback(none)",
            "buffer": "write('x') truncate(0) close()",
        }.items()
        for call in calls.split()
    ),
    ("cycler.reset of a joiner", "{{ cycler.reset(joiner) }}", REFUSED),
    ("cycler.reset of a given object", "{{ cycler.reset(user) }}{{ user.pos }}", REFUSED),
    ("cycler.next of a given object", "{{ cycler.next(simple) }}", REFUSED),
    ("joiner called with a given object", "{{ joiner.__call__(user) }}", REFUSED),
    ("a class's function on a given object", "{{ dict.clear(d) }}", REFUSED),
    ("a class's update on a given object", "{{ dict.update(d, z=1) }}", REFUSED),
    ("a class's setdefault on a given object", "{{ dict.setdefault(d, 'z', 1) }}", REFUSED),
    ("a namespace's set of a given object", "{% set user.name = 'x' %}", REFUSED),
    ("a namespace's set of a given dict", "{% set d.a = 'x' %}", REFUSED),
    ("a namespace's set of a loop's object", "{% for x in [user] %}{% set x.name = 'y' %}{% endfor %}", REFUSED),
    ("+= by a namespace", "{% set ns = namespace(l=l) %}{% set ns.l = ns.l + [4] %}{{ ns.l|length }}{{ l|length }}", "43"),
    ("|indent's list", "{{ l|indent }}", either("[3, 1, 2]")),
    ("|sum into a given list", "{{ [[1], [2]]|sum(start=l) }}{{ l }}", either("[3, 1, 2, 1, 2][3, 1, 2]")),
    ("|sort of a given list", "{{ l|sort }}{{ l }}", "[1, 2, 3][3, 1, 2]"),
    ("|reverse of a given list", "{{ l|reverse|list }}{{ l }}", "[2, 1, 3][3, 1, 2]"),
    ("a view that is changed", "{{ d.items().__class__ }}", REFUSED),
    ("a method taken from a list", "{% set add = l.append %}{{ add(1) }}", REFUSED),
    ("a method taken by |map", "{{ [l]|map(attribute='pop')|list|first }}", BOUNDED),
    ("a method taken by |map and called", "{% for pop in [l]|map(attribute='pop') %}{{ pop() }}{% endfor %}", REFUSED),
    ("a list of the state", "{{ state.l.append(1) }}", REFUSED),
    ("a list in a dict", "{{ d.list.append(1) }}", REFUSED),
    ("a list in a model", "{{ model.tags.append('y') }}", REFUSED),
    ("a list in an object", "{{ user.tags.append('y') }}", REFUSED),
    ("a dict in a message", "{{ messages[2].additional_kwargs.update(x=1) }}", REFUSED),
    ("a list in a message", "{{ messages[2].tool_calls.clear() }}", REFUSED),
    ("an array that is changed", "{{ matrix.append(1) }}{{ matrix.byteswap() }}", REFUSED),
    ("an array that is sorted", "{{ array.sort() }}", REFUSED),
]  # fmt: skip

# -- row 17: errors that tell values --------------------------------------------------------------

LEAKS: list[Row] = [
    ("a filter named by a secret", "{{ [1]|map(api_key)|list }}", REFUSED),
    ("a test named by a secret", "{{ [1]|select(api_key)|list }}", REFUSED),
    ("a reject named by a secret", "{{ [1]|reject(api_key)|list }}", REFUSED),
    ("a selectattr's test named by a secret", "{{ [d]|selectattr('a', api_key)|list }}", REFUSED),
    ("a macro's argument named by a secret", "{% macro m() %}{% endmacro %}{{ m(**{api_key: 1}) }}", REFUSED),
    ("a method's argument named by a secret", "{{ 'x'.split(**{api_key: 1}) }}", REFUSED),
    ("a filter's argument named by a secret", "{{ 'x'|upper(**{api_key: 1}) }}", REFUSED),
    ("dict's argument named by a secret", "{{ dict(**{api_key: 1})|length }}", either("1")),
    ("a global's argument named by a secret", "{{ range(**{api_key: 1}) }}", REFUSED),
    ("a key that is missing", "{{ d[api_key].x }}", REFUSED),
    ("an attribute that is missing", "{{ (user|attr(api_key)).x }}", REFUSED),
    ("an undefined's call", "{{ d[api_key]() }}", REFUSED),
    ("an item of a number", "{{ n[api_key].x }}", REFUSED),
    ("an index that is wrong", "{{ l.index(api_key) }}", REFUSED),
    ("a text that is not found", "{{ text.index(api_key) }}", REFUSED),
    ("a number that is none", "{{ api_key + 1 }}", REFUSED),
    ("a number that is none, from the left", "{{ 1 + api_key }}", REFUSED),
    ("a product", "{{ api_key * api_key }}", REFUSED),
    ("a comparison", "{{ api_key < 1 }}", REFUSED),
    ("a sort", "{{ [api_key, 1]|sort }}", REFUSED),
    ("a sum", "{{ [api_key]|sum }}", REFUSED),
    ("a negation", "{{ -api_key }}", REFUSED),
    ("an encoding", "{{ text.encode(api_key) }}", REFUSED),
    ("an encoding's errors", "{{ ('é' ~ text).encode('ascii', api_key) }}", REFUSED),
    ("an encoding of it", "{{ (api_key ~ 'é').encode('ascii') }}", REFUSED),
    ("a % of it", "{{ '%d' % api_key }}", REFUSED),
    ("a % by it", "{{ (api_key ~ '%') % 1 }}", REFUSED),
    ("a % with a key of it", "{{ ('%(' ~ api_key ~ ')s') % {} }}", REFUSED),
    ("a format by it", "{{ ('{' ~ api_key ~ '}').format() }}", REFUSED),
    ("a format's spec of it", "{{ ('{:' ~ api_key ~ '}').format(1) }}", REFUSED),
    ("a format with a wrong conversion", "{{ ('{!' ~ api_key ~ '}').format(1) }}", REFUSED),
    ("a format of it", "{{ '{:d}'.format(api_key) }}", REFUSED),
    ("a format_map by it", "{{ ('{' ~ api_key ~ '}').format_map({}) }}", REFUSED),
    ("a date's format of it", "{{ when.strftime(api_key) }}", either("SECRET-9d1f")),
    ("a date's isoformat of it", "{{ when.isoformat('T', api_key) }}", REFUSED),
    ("a date's replace of it", "{{ when.replace(year=api_key) }}", REFUSED),
    ("fromisoformat of it", "{{ when.fromisoformat(api_key) }}", REFUSED),
    ("|round's method", "{{ 1|round(1, api_key) }}", REFUSED),
    ("|dictsort's by", "{{ d|dictsort(by=api_key) }}", REFUSED),
    ("|groupby's attribute", "{{ rows|groupby(api_key)|length }}", BOUNDED),
    ("|map's attribute", "{{ rows|map(attribute=api_key)|map('upper')|map('int')|sum }}", BOUNDED),
    ("|xmlattr's key", "{{ {api_key ~ ' x': 1}|xmlattr }}", REFUSED),
    ("|batch's number", "{{ l|batch(api_key)|list }}", either("[[3, 1, 2]]")),
    ("|slice's number", "{{ l|slice(api_key)|list }}", REFUSED),
    ("|center's width", "{{ text|center(api_key) }}", REFUSED),
    ("|indent's width", "{{ 'a\nb'|indent(api_key) }}", either("a\nSECRET-9d1fb")),
    ("|truncate's length", "{{ text|truncate(api_key) }}", REFUSED),
    ("|wordwrap's width", "{{ text|wordwrap(api_key) }}", REFUSED),
    ("|filesizeformat", "{{ api_key|filesizeformat }}", REFUSED),
    ("|int's base", "{{ '1'|int(0, api_key) }}", BOUNDED),
    ("|random of none", "{{ []|random }}", EMPTY),
    ("|tojson of an object", "{{ {'a': user, 'k': api_key}|tojson }}", BOUNDED),
    ("|urlize's rel", "{{ 'a.com'|urlize(rel=api_key, extra_schemes=[api_key]) }}", REFUSED),
    ("divisibleby", "{{ 4 is divisibleby(api_key) }}", REFUSED),
    ("even", "{{ api_key is even }}", REFUSED),
    ("a division by nought", "{{ (api_key|length) // 0 }}", REFUSED),
    ("an unpacking", "{% set a, b = api_key %}", REFUSED),
    ("an unpacking in a loop", "{% for a, b in [api_key] %}{% endfor %}", REFUSED),
    ("an include of it", "{% include api_key %}", REFUSED),
    ("a range of it", "{{ range(api_key) }}", REFUSED),
    ("lipsum of it", "{{ lipsum(api_key) }}", REFUSED),
    ("cycler of none", "{{ cycler() }}", REFUSED),
    ("a namespace of it", "{{ namespace(api_key) }}", REFUSED),
    ("dict of it", "{{ dict(api_key) }}", REFUSED),
    ("dict of pairs of it", "{{ dict([api_key]) }}", REFUSED),
    ("an iteration of a number", "{% for x in n %}{% endfor %}{{ api_key }}", REFUSED),
    ("a call of it", "{{ api_key() }}", REFUSED),
    ("a translation of it", "{{ api_key.translate(api_key) }}", REFUSED),
    ("maketrans of it", "{{ text.maketrans(api_key, text) }}", REFUSED),
    ("a filler of it", "{{ text.center(9, api_key) }}", REFUSED),
    ("a decimal's method of it", "{{ price.quantize(api_key) }}", REFUSED),
    ("a key that cannot be one", "{{ {[api_key]: 1} }}", REFUSED),
    ("a set's union of it", "{{ s.union(1) }}{{ api_key }}", REFUSED),
    ("an object whose str fails", "{{ broken }}", REFUSED),
    ("a recursive loop's argument", "{% for x in [1] recursive %}{{ loop(api_key ~ n) }}{% endfor %}", BOUNDED),
    ("a str.format key", "{d[nothing_here]}{api_key}", REFUSED),
    ("a str.format attribute", "{api_key.upper}", BOUNDED),
    ("a str.format index", "{api_key[0]}", BOUNDED),
    ("a prompt's second message", {"system": ["{{ api_key }}", "{{ api_key + 1 }}"], "user": "go"}, REFUSED),
]  # fmt: skip

# -- row 1: items that are no text ----------------------------------------------------------------

_HOSTILE_TEXT = "{{ cycler.__init__.__globals__.os.popen('touch stolen').read() }}"
ITEMS: list[Row] = [
    *(
        (f"{kind} as {place}", content, REFUSED)
        for kind, item in {
            "a list": [_HOSTILE_TEXT],
            "a list of harmless text": ["hello"],
            "a list of lists": [[_HOSTILE_TEXT]],
            "bytes": _HOSTILE_TEXT.encode(),
            "a set": {_HOSTILE_TEXT},
            "a tuple": (_HOSTILE_TEXT,),
            "a list of pairs": [(_HOSTILE_TEXT, 1)],
            "a number": 7,
            "a boolean": True,
            "a date": datetime.date(2026, 1, 2),
            "a mapping with a list as content": {"content": [_HOSTILE_TEXT]},
            "a mapping with bytes as content": {"content": _HOSTILE_TEXT.encode()},
            "a mapping with a mapping as content": {"content": {"text": _HOSTILE_TEXT}},
            "a mapping with a number as content": {"content": 7},
        }.items()
        for place, content in {
            "an item of system": {"system": [item], "user": "go"},
            "a segment": {"system_segments": [item], "user": "go"},
        }.items()
    ),
    # as with YAMLGraph alone: a segment without content is empty
    ("a mapping without content in system", {"system": [{"text": _HOSTILE_TEXT}], "user": "go"}, either("go")),
    ("a segment without content", {"system_segments": [{"text": _HOSTILE_TEXT}], "user": "go"}, either("go")),
    ("a list as user", {"user": [_HOSTILE_TEXT]}, REFUSED),
    ("bytes as user", {"user": _HOSTILE_TEXT.encode()}, REFUSED),
    ("a mapping as user", {"user": {"content": _HOSTILE_TEXT}}, REFUSED),
    ("bytes as system", {"system": _HOSTILE_TEXT.encode(), "user": "go"}, REFUSED),
    ("a mapping as system", {"system": {"content": _HOSTILE_TEXT}, "user": "go"}, REFUSED),
    ("a number as system", {"system": 7, "user": "go"}, REFUSED),
    ("a mapping as system_segments", {"system_segments": {"content": _HOSTILE_TEXT}, "user": "go"}, REFUSED),
    ("a text as system_segments", {"system_segments": _HOSTILE_TEXT, "user": "go"}, REFUSED),
    ("code in an item", {"system": [_HOSTILE_TEXT], "user": "go"}, REFUSED),
    ("code in a segment", {"system_segments": [{"content": _HOSTILE_TEXT}], "user": "go"}, REFUSED),
    ("code in user", {"user": _HOSTILE_TEXT}, REFUSED),
]  # fmt: skip

FAMILIES: dict[str, list[Row]] = {
    "object": OBJECTS,
    "spending": SPENDING,
    "memory": MEMORY_ATTACKS,
    "freeze": FREEZES,
    "escape": ESCAPES,
    "format": FORMAT,
    "limit": LIMITS,
    "change": CHANGES,
    "leak": LEAKS,
    "item": ITEMS,
}
# What takes a second; of each kind another one stays in every run.
NIGHTLY = {
    "|int of long texts that are kept",
    "str.format with 4 MiB of fields",
    "grouped copies that are kept",
    "lists of views that are kept",
    "a loop that recurses twice",
    "varargs of varargs",
    "a wide value by ~",
    "tuples of tuples, hashed",
    "lists of lists, compared",
    "a wide value, pretty",
    "maps over a range, over and over",
    "a wide value in str.format",
    "a wide value, |string",
    "a wide value, as JSON",
    "dicts of dicts, as JSON",
    "a wide value, joined",
    "|striptags of entities",
    "lists of undefined items that are kept",
    "a list of lists, escaped by ljust(9, x)",
    "looking up long_sub.text, over and over",
    "a wide value, compared",
    "mapped copies that are kept",
    "a list of lists, escaped by center(9, x)",
    "a wide value, formatted",
    "selects over a range, over and over",
    "macros that call each other",
    "varargs of methods that are kept",
    "a list of lists, escaped by replace('a', x)",
    "a list of lists, escaped by rjust(9, x)",
    "looking up pair.left, over and over",
    "lists of undefined names that are kept",
}
ROWS = [
    pytest.param(
        *(template, expected),
        id=f"{family}: {name}",
        marks=[pytest.mark.nightly] if name in NIGHTLY else [],
    )
    for family, rows in FAMILIES.items()
    for name, template, expected in rows
]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Child() as child:
        yield child


@pytest.fixture(scope="module")
def hold_s() -> float:
    return max(HOLD_S, 10 * copy_of_4_mib_s()) * NOISE


@pytest.mark.parametrize(("template", "expected"), ROWS)
def test_is_refused_or_harmless_within_its_limits(
    template: str | Mapping[str, Any], expected: Expected, child: Child, hold_s: float
) -> None:
    for _attempt in range(3):  # a busy machine makes a render slow: the best of three counts
        result = child.measure(Case("", template), noise=NOISE)
        if result.seconds <= RENDER_S * NOISE and result.hold_s <= hold_s:
            break
    expected_text = "".join(part for part in _parts(expected) if isinstance(part, str))
    _check_outcome(result, expected)
    if result.outcome == "refused" or "SECRET" not in expected_text:
        assert "SECRET" not in result.text, result.text
    _check_harmless(result)
    assert result.seconds <= RENDER_S * NOISE
    assert result.hold_s <= hold_s, f"the interpreter lock was held for {result.hold_s:.3f} s"
    assert result.excess <= MEMORY, f"{result.excess / MEBI:.0f} MiB above the text"
    assert result.length <= MAX_TEXT or result.outcome == "refused"


def _parts(expected: Expected) -> tuple[str | _Refused, ...]:
    return expected if isinstance(expected, tuple) else () if expected is None else (expected,)


def _check_outcome(result: Result, expected: Expected) -> None:
    assert result.outcome in ("text", "refused"), result
    assert "MemoryError" not in result.cause, "it was not refused: the test's own limit stopped it"
    if result.outcome == "refused":
        assert expected is BOUNDED or REFUSED in _parts(expected), result.text
        assert result.text.startswith(("Prompt 'p'", "Missing required variable")), result.text
        assert len(result.text) < 1_000
        assert all(c.isprintable() or c == "\n" for c in result.text), result.text
    else:
        assert expected is BOUNDED or result.text in _parts(expected), result.text


def _check_harmless(result: Result) -> None:
    assert result.changed == ()
    assert result.events == ()
    assert result.files == ()
    for call in result.calls:
        name, _, times = call.partition(" x")
        assert name.rpartition(".")[2] in PRINTING, call
        assert int(times) <= 2, call


def test_an_app_opens_a_class_for_no_more_than_it_names() -> None:
    templates.allow(Money, fields=("amount",), methods=("formatted",))
    values = {"money": Money(7), "user": User()}
    render = MessageTemplate("{{ money.amount }} {{ money.formatted('CHF') }}").render
    assert render(values) == "7 7 CHF"
    for text in ("{{ money.drain() }}", "{{ money._ledger }}", "{{ user.greet() }}"):
        with suppress(PromptRenderError):
            assert MessageTemplate(text).render(values) == ""
    assert values["money"].amount == 7


def test_a_release_with_attacks_is_refused_or_their_runs_are() -> None:
    passed = []
    for name, text, expected in ESCAPES:
        if expected is REFUSED and isinstance(text, str):
            with suppress(PromptsError), LivePrompts({"p": {"user": text}}) as prompts:
                values = {"undefined_name": jinja2.Undefined(), **objects.for_text(text)}
                prompts["p"].messages(**values)
                passed.append(name)
    assert passed == []


def test_there_are_at_least_three_hundred_attacks_and_none_twice() -> None:
    texts = [repr(template) for rows in FAMILIES.values() for _name, template, _expected in rows]
    assert len(texts) >= 300
    assert [text for text, count in Counter(texts).items() if count > 1] == []
    names = {name for rows in FAMILIES.values() for name, _template, _expected in rows}
    assert names >= NIGHTLY


def test_the_jinja_of_an_attack_is_refused_for_what_it_does_and_not_for_its_syntax() -> None:
    environment = jinja2.Environment()
    for family in ("object", "spending", "memory", "change", "leak"):
        for name, template, _expected in FAMILIES[family]:
            if isinstance(template, str) and ("{{" in template or "{%" in template):
                try:
                    environment.parse(template)
                except jinja2.TemplateSyntaxError as error:
                    pytest.fail(f"{name}: {error}")


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
def test_the_harness_sees_memory_freezes_files_and_changes() -> None:
    with Child() as child:
        result = child.run(Case("probe", PROBE))
    assert result.outcome == "text"
    assert result.memory > 120 * MEBI
    assert result.hold_s > HOLD_S
    assert result.files == ("probe",)
    assert any(event.startswith("open") for event in result.events)
    assert result.changed == ("l",)
    assert result.calls == ("a_function x1",)
