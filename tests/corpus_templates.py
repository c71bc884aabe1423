# ruff: noqa: E501 - a template is easier to read on one line
"""Two hundred templates as people write them, and what they are filled in with."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import types
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel


class Address(BaseModel):
    street: str = "Rue 1"
    city: str = "Paris"


class Customer(BaseModel):
    name: str = "Ada Lovelace"
    age: int = 36
    tags: list[str] = ["vip", "early"]
    address: Address = Address()
    notes: str | None = None


@dataclass
class Item:
    title: str
    price: float
    tags: list[str] = field(default_factory=list)


class Turn(NamedTuple):
    role: str
    content: str


class Tone(enum.Enum):
    FORMAL = "formal"
    CASUAL = "casual"


class Priority(str, enum.Enum):  # noqa: UP042 - it prints differently
    HIGH = "high"


def variables() -> dict[str, Any]:
    """New values for all templates."""
    return {
        "name": "Ada",
        "empty": "",
        "nothing": None,
        "yes": True,
        "no": False,
        "n": 3,
        "big_number": 1234567,
        "price": 12.5,
        "ratio": 0.8567,
        "amount": decimal.Decimal("12.30"),
        "text": "The quick brown fox jumps over the lazy dog. It was a sunny day.",
        "lines": "first line\nsecond line\n\nfourth line",
        "html": "<b>Hello</b> & goodbye 'x' \"y\"",
        "unicode": "Grüße, ΑΩ, 日本語, 🎉 ﬁ",
        "url": "https://example.com/a b?q=1&r=é",
        "csv": "a,b;c , d",
        "question": "What is the capital of France?",
        "names": ["Ada", "bob", "Cyd"],
        "numbers": [3, 1, 2, 2],
        "none_yet": [],
        "mixed": ["a", 1, None, 2.5, True],
        "pairs": [("a", 1), ("b", 2)],
        "nested": [[1, 2], [3, [4, 5]]],
        "d": {"b": 2, "a": 1, "C": 3},
        "config": {"model": "m1", "params": {"temperature": 0.2, "stop": ["\n"]}, "items": 5},
        "unique": {"only"},
        "point": (1, 2),
        "rows": [
            {"id": 1, "name": "Pen", "kind": "office", "price": 1.5, "stock": 10},
            {"id": 2, "name": "Desk", "kind": "furniture", "price": 150.0, "stock": 0},
            {"id": 3, "name": "lamp", "kind": "furniture", "price": 30.25, "stock": 4},
        ],
        "when": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "day": datetime.date(2026, 1, 2),
        "clock": datetime.time(13, 5),
        "span": datetime.timedelta(hours=5, minutes=3),
        "customer": Customer(),
        "items": [Item("Pen", 1.5, ["blue"]), Item("Desk", 150.0)],
        "turns": [Turn("user", "hi"), Turn("assistant", "hello")],
        "tone": Tone.FORMAL,
        "priority": Priority.HIGH,
        "simple": types.SimpleNamespace(a=1, b=types.SimpleNamespace(c=[1, 2])),
        "counts": collections.Counter("banana"),
        "ordered": collections.OrderedDict(z=1, y=2),
        "chat": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "  Hello! How can I help?  "},
            {"role": "user", "content": "Tell me a joke"},
        ],
        "tool_chat": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": {"city": "Paris"}},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "18 C"},
            {"role": "assistant", "content": "It is 18 C."},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Get the weather",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string", "description": "Which city"},
                            "unit": {"type": "string", "enum": ["C", "F"]},
                        },
                        "required": ["city"],
                    },
                },
            },
            {
                "type": "function",
                "function": {
                    "name": "now",
                    "description": "The time",
                    "parameters": {"type": "object", "properties": {}},
                },
            },
        ],
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_generation_prompt": True,
        "messages": [
            SystemMessage("Be kind."),
            HumanMessage("hi", name="ada", id="m1"),
            AIMessage("ho", tool_calls=[{"name": "search", "args": {"q": "cats"}, "id": "c1"}]),
            ToolMessage("3 cats", tool_call_id="c1"),
        ],
        "docs": [
            Document("Paris is the capital.", metadata={"source": "a.md", "score": 0.91}),
            Document(
                "France is in Europe.\nIt is large.", metadata={"source": "b.md", "score": 0.5}
            ),
        ],
    }


_LLAMA_2 = """\
{%- if chat[0]['role'] == 'system' -%}
    {%- set loop_messages = chat[1:] -%}
    {%- set system_message = chat[0]['content'] -%}
{%- else -%}
    {%- set loop_messages = chat -%}
    {%- set system_message = false -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('roles must alternate') -}}
    {%- endif -%}
    {%- if loop.index0 == 0 and system_message != false -%}
        {%- set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] -%}
    {%- else -%}
        {%- set content = message['content'] -%}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- ' ' + content.strip() + ' ' + eos_token -}}
    {%- endif -%}
{%- endfor -%}"""

_LLAMA_3 = """\
{% set loop_messages = chat %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

_LLAMA_3_TOOLS = """\
{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if tool_chat[0]['role'] == 'system' %}
    {%- set system_message = tool_chat[0]['content']|trim %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- for t in tools %}
    {{- t | tojson(indent=4) }}
    {{- "\\n\\n" }}
{%- endfor %}
{{- system_message + "<|eot_id|>" }}
{%- for message in tool_chat %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

_MISTRAL = """\
{%- if chat[0].role == "system" %}
    {%- set system_message = chat[0].content %}
    {%- set loop_messages = chat[1:] %}
{%- else %}
    {%- set loop_messages = chat %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message.role == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.role == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}"""

_CHATML = "{% for message in chat %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

_CHATML_TOOLS = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if tool_chat[0].role == 'system' %}
        {{- tool_chat[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\nYou may call one or more functions.\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n<|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=tool_chat|length - 1) %}
{%- for message in tool_chat[::-1] %}
    {%- set index = (tool_chat|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in tool_chat %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (tool_chat[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (tool_chat[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}"""

_GEMMA = "{{ bos_token }}{% for message in chat %}{% if message['role'] != 'system' %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"

_TYPED_TOOLS = """\
{%- macro json_to_python_type(param_name, json_spec) %}
{%- set basic_type_map = {'string': 'str', 'number': 'float', 'integer': 'int', 'boolean': 'bool'} %}
{%- if json_spec.enum %}{{ param_name|title }}{%- elif basic_type_map[json_spec.type] is defined %}{{- basic_type_map[json_spec.type] }}{%- elif json_spec.type == 'array' %}{{- 'List[' + json_to_python_type(param_name, json_spec['items']) + ']' }}{%- else %}{{- 'Any' }}{%- endif %}
{%- endmacro %}
{%- for tool in tools %}{% set fn = tool.function %}
def {{ fn.name }}({% for p, spec in fn.parameters.properties.items() %}{{ p }}: {{ json_to_python_type(p, spec) }}{% if p not in (fn.parameters.required or []) %} = None{% endif %}{{ ', ' if not loop.last }}{% endfor %}):
    \"\"\"{{ fn.description }}\"\"\"
{%- endfor %}"""

_PHI = "{% for message in chat %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"

_ROLES_BY_MAP = "{%- set roles = {'user': 'Human', 'assistant': 'AI', 'system': 'System'} -%}{% for m in chat %}{{ roles.get(m.role, 'Other') }}: {{ m.content.strip().replace('\\n', ' ') }}{{ '\\n' }}{% endfor %}{{ ', '.join(roles.values()) }}"

# The shapes of public chat templates, written anew.
CHAT = {
    "llama 2": _LLAMA_2,
    "llama 3": _LLAMA_3,
    "llama 3 with tools": _LLAMA_3_TOOLS,
    "mistral with tools": _MISTRAL,
    "chatml": _CHATML,
    "chatml with tools and thoughts": _CHATML_TOOLS,
    "gemma": _GEMMA,
    "tools as Python": _TYPED_TOOLS,
    "phi": _PHI,
    "roles by a map": _ROLES_BY_MAP,
}
# Adds a text to JSON by `+`, which Jinja's `Markup` escapes and ours does not.
WITH_MARKUP = (_MISTRAL,)

PROMPTS = """\
Hello {{ name }}!
You are a {{ tone.value }} assistant for {{ customer.name }}.
{{ name|upper }} {{ name|lower }} {{ name|title }} {{ text|capitalize }}
{% if yes %}A{% elif no %}B{% else %}C{% endif %}
{{ 'yes' if n > 2 else 'no' }}{{ 'only' if no }}
{% for x in names %}- {{ x }}\\n{% endfor %}
{% for x in names -%} {{ loop.index }}/{{ loop.length }} {{ x }}{% if not loop.last %}, {% endif %}{%- endfor %}
{% for x in numbers %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in numbers %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}
{% for x in numbers %}{{ loop.cycle('odd', 'even') }} {% endfor %}
{% for x in numbers %}{% if loop.changed(x) %}new {% endif %}{{ x }} {% endfor %}
{% for x in none_yet %}x{% else %}nothing here{% endfor %}
{% for x in numbers if x > 1 %}{{ x }}{{ loop.index }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}{% for k in d.keys() %}{{ k }}{% endfor %}
{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}{{ d|dictsort(true) }}{{ d|dictsort(by='value', reverse=true) }}
{% for a, b in pairs %}{{ a }}-{{ b }} {% endfor %}
{% for row in rows %}{{ row.id }}. {{ row.name }} ({{ row['kind'] }}): {{ '%.2f'|format(row.price) }}\\n{% endfor %}
{% for kind, group in rows|groupby('kind') %}{{ kind }}: {{ group|map(attribute='name')|join(', ') }}; {% endfor %}
{% for g in rows|groupby('kind') %}{{ g.grouper }} {{ g.list|length }} {% endfor %}
{{ rows|map(attribute='name')|list }} {{ rows|map(attribute='nope', default='-')|join }}
{{ rows|selectattr('stock')|map(attribute='name')|join(', ') }}
{{ rows|selectattr('price', 'gt', 10)|map(attribute='name')|join(', ') }}
{{ rows|rejectattr('stock', 'equalto', 0)|list|length }}
{{ rows|sort(attribute='price', reverse=true)|map(attribute='name')|join(' > ') }}
{{ rows|sort(attribute='kind,price')|map(attribute='id')|join }}
{{ rows|sum(attribute='price') }} {{ numbers|sum }} {{ numbers|sum(start=10) }}
{{ (rows|max(attribute='price')).name }} {{ (rows|min(attribute='price')).name }}
{{ rows|map(attribute='kind')|unique|join(',') }} {{ names|unique|list }}
{{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ names|sort(reverse=true) }}
{{ numbers|first }} {{ numbers|last }} {{ numbers|length }} {{ numbers|count }}
{{ numbers|min }} {{ numbers|max }} {{ names|max }} {{ names|min(case_sensitive=true) }}
{{ numbers|join('-') }} {{ names|join }} {{ mixed|join(', ') }} {{ rows|join(', ', attribute='name') }}
{{ names|map('upper')|list }} {{ names|map('length')|sum }} {{ names|map('replace', 'a', '4')|join }}
{{ numbers|select('odd')|list }} {{ numbers|reject('odd')|list }} {{ numbers|select('gt', 1)|list }} {{ mixed|select|list }}
{{ numbers|reverse|list }} {{ name|reverse }} {{ numbers[::-1] }}
{{ numbers|batch(3)|list }} {{ numbers|batch(3, 'x')|list }} {{ numbers|slice(3)|list }} {{ numbers|slice(3, 0)|list }}
{{ text|truncate(20) }} {{ text|truncate(20, true) }} {{ text|truncate(20, false, '…') }} {{ text|truncate(62, false, '...', 0) }}
{{ text|wordwrap(20) }} {{ text|wordwrap(10, false) }} {{ text|wordwrap(15, true, '|') }}
{{ text|wordcount }} {{ text|length }} {{ text.split()|length }}
{{ lines|indent }} {{ lines|indent(2, true) }} {{ lines|indent('> ') }} {{ lines|indent(2, blank=true) }}
{{ lines.splitlines() }} {{ lines.split('\\n')|length }} {{ lines|replace('\\n', ' / ') }}
{{ csv.split(',') }} {{ csv.replace(';', ',').split(',')|map('trim')|list }} {{ csv.partition(';') }} {{ csv.rpartition(',') }} {{ csv.rsplit(',', 1) }}
{{ name.upper() }} {{ name.lower() }} {{ text.title() }} {{ name.swapcase() }} {{ text.capitalize() }} {{ unicode.casefold() }}
{{ name.center(9) }}| {{ name.ljust(6, '.') }}| {{ name.rjust(6) }}| {{ '7'.zfill(3) }} {{ name.center(9, '*') }}
{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ '--a'.lstrip('-') }}|{{ 'a.'.rstrip('.') }}|{{ ' a'|trim }}|{{ 'xax'|trim('x') }}
{{ name.startswith('A') }} {{ name.endswith(('a', 'b')) }} {{ text.find('fox') }} {{ text.rfind('o') }} {{ text.index('q') }} {{ text.count('o') }}
{{ 'a1'.isalnum() }} {{ 'a'.isalpha() }} {{ '1'.isdigit() }} {{ ' '.isspace() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ 'A b'.istitle() }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.md'.removesuffix('.md') }} {{ 'a\\tb'.expandtabs(4) }}
{{ ', '.join(names) }} {{ '-'.join(['a', 'b']) }} {{ ''.join(name) }} {{ ', '.join(d) }}
{{ '{} is {}'.format(name, n) }} {{ '{a:>5}|{b:.2f}'.format(a=name, b=price) }} {{ '{0}{0}'.format('x') }} {{ '{x[name]}'.format(x=rows[0]) }}
{{ '%s has %d (%.1f%%)' % (name, n, ratio * 100) }} {{ '%05d' % n }} {{ '%-5s|' % name }} {{ '%(a)s' % {'a': 1} }} {{ '%x' % 255 }}
{{ '%s, %s'|format(name, n) }} {{ '%(a)s'|format(a=1) }}
{{ html|e }} {{ html|escape }} {{ html|safe }} {{ html|forceescape }}
{{ html|urlencode }} {{ url|urlencode }} {{ d|urlencode }}
{{ config|tojson }} {{ rows[0]|tojson(indent=2) }} {{ names|tojson }} {{ html|tojson }} {{ nothing|tojson }}
{{ price|round }} {{ ratio|round(2) }} {{ ratio|round(1, 'ceil') }} {{ ratio|round(1, 'floor') }} {{ 7|round }}
{{ '42'|int }} {{ 'x'|int(5) }} {{ '0x1A'|int(0, 16) }} {{ '3.5'|float }} {{ 'x'|float(1.5) }} {{ 3.9|int }} {{ -3|abs }}
{{ big_number|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ '{:,}'.format(big_number) }} {{ '{:.1%}'.format(ratio) }}
{{ nothing|default('none') }} {{ nothing|default('none', true) }} {{ missing_one|default('gone') }} {{ missing_one|d }} {{ empty|default('blank', true) }}
{{ missing_one is defined }} {{ name is defined }} {{ nothing is none }} {{ missing_one is undefined }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby(3) }} {{ n is number }} {{ price is float }} {{ n is integer }} {{ yes is boolean }} {{ yes is true }} {{ no is false }}
{{ name is string }} {{ names is iterable }} {{ d is mapping }} {{ names is sequence }} {{ name is lower }} {{ 'A' is upper }} {{ n is sameas(n) }} {{ 'a' is in('abc') }} {{ n is eq(3) }} {{ n is ge(3) }} {{ n is lt(3) }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ -n }} {{ +n }} {{ (1 + 2) * 3 }} {{ 1.5 + n }}
{{ 'a' ~ 1 ~ none ~ true }} {{ 'a' + 'b' }} {{ '-' * 10 }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ [0] * 3 }}
{{ n == 3 }} {{ n != 3 }} {{ 1 < n <= 3 }} {{ 'a' in 'abc' }} {{ 2 in numbers }} {{ 'x' not in names }} {{ 'a' in d }} {{ n in (1, 3) }}
{{ yes and no }} {{ no or name }} {{ not yes }} {{ (yes or no) and n }} {{ empty or 'default' }} {{ none_yet or 'empty' }}
{{ names[0] }} {{ names[-1] }} {{ names[1:] }} {{ names[:2] }} {{ name[0] }} {{ name[::-1] }} {{ point[1] }} {{ d['a'] }} {{ text[4:9] }}
{{ config.params.temperature }} {{ config['params']['stop'][0]|tojson }} {{ config.get('model') }} {{ config.get('x', 'y') }} {{ config.nope }}|
{{ config.items() | list | length }} {{ config['items'] }} {{ d.copy() }} {{ dict(a=1, **{'b': 2}) }} {{ dict([('a', 1)]) }}
{{ [1, 'two', 3.0, none, true] }} {{ (1, 2) }} {{ {'a': [1, {'b': 2}]} }} {{ [] }} {{ {} }} {{ (1,) }}
{{ customer.name }} {{ customer.age }} {{ customer.address.city }} {{ customer.tags|join(', ') }} {{ customer.notes }}
{{ customer }} | {{ customer.address }} | {{ [customer.address] }}
{% if customer.notes %}Notes: {{ customer.notes }}{% else %}No notes{% endif %}
{% for item in items %}{{ item.title }}: {{ item.price }} {{ item.tags|join }}\\n{% endfor %}{{ items }}
{% for t in turns %}{{ t.role }}: {{ t.content }} {{ t[0] }}{% endfor %}{{ turns[0] }}
{% for role, content in turns %}<{{ role }}>{{ content }}</{{ role }}>{% endfor %}
{{ tone }} {{ tone.name }} {{ tone.value }} {{ priority }} {{ priority.value }} {{ priority == 'high' }}
{{ simple.a }} {{ simple.b.c[1] }} {{ simple }} {{ simple.nope }}|
{{ counts['a'] }} {{ counts.b }} {{ counts.items()|sort }} {{ ordered }} {{ ordered.keys()|list }} {{ counts }}
{{ unique }} {{ unique|first }} {{ 'only' in unique }} {{ unique|length }}
{{ when }} {{ day }} {{ clock }} {{ span }} {{ when.year }}-{{ when.month }} {{ span.days }} {{ span.total_seconds() }}
{{ when.strftime('%Y-%m-%d %H:%M') }} {{ day.strftime('%d %B %Y') }} {{ clock.strftime('%H:%M') }} {{ when.isoformat() }} {{ day.isoformat() }} {{ day.weekday() }} {{ day.isoweekday() }}
{{ '{:%d.%m.%Y}'.format(day) }} {{ when.date() }} {{ when.time() }} {{ when.replace(year=2027) }} {{ (when - when).days }} {{ when + span }} {{ day < when.date() }}
{{ amount }} {{ amount + 1 }} {{ amount * 2 }} {{ '%.2f' % amount }} {{ '{:.1f}'.format(amount) }} {{ amount|float }} {{ amount|int }}
{% set x = 5 %}{{ x }}{% set y, z = 1, 2 %}{{ y }}{{ z }}{% set t = names|join(', ') %}{{ t }}
{% set block %}Hello {{ name }}{% endset %}{{ block }} {{ block|upper }} {{ block|length }}
{% set up | upper | trim %} hello {% endset %}{{ up }}
{% set ns = namespace(total=0, found=false) %}{% for x in numbers %}{% set ns.total = ns.total + x %}{% if x == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.total }} {{ ns.found }}
{% set ns = namespace(l=[]) %}{% for x in names %}{% set ns.l = ns.l + [x|lower] %}{% endfor %}{{ ns.l|join(', ') }}
{% with a = 1, b = name %}{{ a }}{{ b }}{% endwith %}{{ a }}|
{% filter upper %}shout {{ name }}{% endfilter %} {% filter replace('a', 'b')|trim %} aaa {% endfilter %}
{% raw %}{{ not_a_variable }} {% if %}{% endraw %} {{ name }}
{# a comment #}{{ name }}{#- another -#}
  {%- if yes %}  tight  {%- endif -%}  {{- name -}}  end
{% if yes -%}    stripped    {%- endif %} {%+ if yes %}kept{% endif %}
{% macro hi(who, greeting='Hello') %}{{ greeting }} {{ who }}!{% endmacro %}{{ hi('Ada') }} {{ hi('Bob', greeting='Hey') }} {{ hi(who='C') }}
{% macro field(name, value='', type='text') -%}<{{ type }} {{ name }}={{ value }}>{%- endmacro %}{{ field('a') }}{{ field('b', 1) }}{{ field.name }} {{ field.arguments }}
{% macro all() %}{{ varargs|join('+') }} {{ kwargs|dictsort }}{% endmacro %}{{ all(1, 2, a=3) }}
{% macro box(title) %}[{{ title }}: {{ caller() }}]{% endmacro %}{% call box('T') %}inner {{ name }}{% endcall %}
{% macro each(items) %}{% for i in items %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(i, n) each(names) %}{{ n }}:{{ i }} {% endcall %}
{% macro tree(items) %}{% for i in items %}{% if i is iterable and i is not string %}[{{ tree(i) }}]{% else %}{{ i }}{% endif %}{% endfor %}{% endmacro %}{{ tree(nested) }}
{% for i in nested recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}@{{ loop.depth }}{% endif %}{% endfor %}
{% block intro %}Intro {{ name }}{% endblock %} {{ self.intro() }}
{% block a %}{% for x in numbers %}{{ ', '.join(names) }}{{ name.replace('A', 'E') }}{{ name.center(7) }}{% endfor %}{% endblock %}
{% for x in names %}{{ ', '.join(names) }} {{ x.replace('a', 'b') }} {{ x.center(5) }}{% endfor %}
{% for x in names %}{% for y in numbers %}{{ x }}{{ y }}{{ loop.index }}{% if loop.last %};{% endif %}{% endfor %}{% endfor %}
{% for x in names %}{% set outer = loop %}{% for y in numbers %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}
{% for x in range(3) %}{{ x }}{% endfor %} {% for x in range(1, 10, 3) %}{{ x }}{% endfor %} {{ range(3)|list }} {{ range(5)|length }} {{ range(n)[1] }}
{% for i in range(10, 0, -2) %}{{ i }} {% endfor %}
{% set c = cycler('odd', 'even') %}{% for x in numbers %}{{ c.next() }} {{ c.current }} {% endfor %}{{ c.reset() }}{{ c.current }}
{% set pipe = joiner(' | ') %}{% for x in names %}{{ pipe() }}{{ x }}{% endfor %}
{% for m in messages %}{{ m.type }}: {{ m.content }}\\n{% endfor %}
{{ messages[-1].content }} {{ messages[1].name }} {{ messages[1].id }} {{ messages[2].tool_calls[0].name }} {{ messages[2].tool_calls[0]['args'].q }} {{ messages[3].tool_call_id }}
{{ messages|selectattr('type', 'equalto', 'human')|map(attribute='content')|join(' ') }} {{ messages|length }}
{% for m in messages if m.type != 'system' %}{{ {'human': 'User', 'ai': 'Assistant'}.get(m.type, m.type) }}: {{ m.content }}\\n{% endfor %}
{% for m in messages %}{% if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %}call {{ c.name }}({{ c.args|tojson }}){% endfor %}{% endif %}{% endfor %}
{{ messages[0] }} || {{ messages[1] }}
{% for doc in docs %}[{{ loop.index }}] {{ doc.page_content }} ({{ doc.metadata.source }}, {{ '%.2f' % doc.metadata['score'] }})\\n{% endfor %}
Answer from the context only.\\n{% for doc in docs %}<doc id="{{ loop.index }}" source="{{ doc.metadata.source }}">\\n{{ doc.page_content|trim|indent(2, true) }}\\n</doc>\\n{% endfor %}Question: {{ question }}
{{ docs|map(attribute='metadata.source')|join(', ') }} {{ docs|sort(attribute='metadata.score')|map(attribute='page_content')|first }}
{% for ex in rows[:2] %}Q: {{ ex.name }}\\nA: {{ ex.kind }}\\n\\n{% endfor %}Q: {{ question }}\\nA:
{% for tool in tools %}- {{ tool.function.name }}: {{ tool.function.description }}{% for p, s in tool.function.parameters.properties.items() %} {{ p }}{{ '*' if p in tool.function.parameters.get('required', []) }}{% endfor %}\\n{% endfor %}
Answer as JSON: {"name": "{{ name }}", "tags": {{ names|tojson }}, "nested": {"ok": {{ yes|tojson }}}}
{% raw %}{"score": 1, "why": "..."}{% endraw %} for {{ name }}
```json\\n{{ config|tojson(indent=2) }}\\n```
| name | price |\\n|---|---|\\n{% for r in rows %}| {{ r.name }} | {{ r.price }} |\\n{% endfor %}
{{ state.topic }} {{ state.history|length }} {{ state.missing|default('-') }} {% for h in state.history %}{{ h }}{% endfor %}
{{ state['topic']|title }} {{ state.user.name }} {{ state.get('topic') }} {% if 'topic' in state %}in{% endif %}
{% if names|length > 2 and 'Ada' in names %}many{% endif %} {{ names|length == 3 }} {{ (names|length) * 2 }}
{{ (n * price)|round(2) }} {{ (price * 1.19)|round(2)|string + ' EUR' }} {{ n|string|length }} {{ [n, price]|sum }}
{{ unicode|upper }} {{ unicode|length }} {{ unicode|urlencode }} {{ unicode|tojson }} {{ unicode[:5] }} {{ unicode|reverse }}
{{ "double \\" quote" }} {{ 'single \\' quote' }} {{ 'tab\\tnew\\nline' }} {{ '\\u00e9' }}
{{ 1_000 }} {{ 0x10 }} {{ 1e3 }} {{ 0b11 }} {{ 12.50 }} {{ 1.0 }} {{ 10000000000000000 }} {{ 1e20 }} {{ 0.1 + 0.2 }}
{{ none }} {{ None }} {{ true }} {{ True }} {{ false }} {{ False }}
{{ names|string }} {{ d|string|length }} {{ n|string ~ 'x' }} {{ names|list }} {{ name|list }} {{ d|list }}
{{ d|items|list }} {{ missing_one|items|list }} {{ d|length }} {{ d|first }}
{{ name|attr('x') is defined }} {{ customer|attr('name') }} {{ rows|map(attribute=0)|list|length }}
{{ numbers|map('string')|join('|') }} {{ numbers|map('float')|list }} {{ ['1', '2']|map('int')|sum }} {{ names|map('first')|join }}
{{ pairs|map('last')|list }} {{ pairs|map(attribute=1)|sum }} {{ nested|map('length')|list }} {{ dict(pairs) }}
{{ [names, numbers]|map('join', ',')|list }} {{ names|map('truncate', 2, true, '')|list }} {{ rows|map(attribute='price')|map('round')|list }}
{{ text|replace('o', '0', 2) }} {{ text.replace('o', '0', 1) }} {{ text|replace('', '-')|length }}
{{ 'a-b_c'.replace('-', ' ').replace('_', ' ').title() }} {{ ' x '.strip().upper().center(5, '*') }}
{% if not missing_one %}nothing{% endif %}{% for x in missing_one %}x{% endfor %}{{ missing_one }}|{{ missing_one|length }}
{{ n is not none }} {{ n is not odd }} {{ not n is odd }} {{ names is not string }} {{ 'x' is not in names }}
{{ names is eq(names) }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ (1, 2) < (1, 3) }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ none == false }}
{{ 5 if yes else 6 }} {{ (5 if no else 6) + 1 }} {{ 'a' if no else 'b' if no else 'c' }}
{%- for x in [1, 2] %}\\n  - {{ x }}\\n{%- endfor %}\\nend
{% set items2 = [] %}{{ items2 }} {% set m = {'k': names} %}{{ m.k[1] }} {{ m['k']|length }}
{% set greeting = 'Hi' if n > 1 else 'Yo' %}{{ greeting }}, {{ name }}{{ '!' * n }}
{{ '\\n'.join(lines.split('\\n')|map('trim')|reject('equalto', '')|list) }}
{% for line in lines.splitlines() if line.strip() %}{{ loop.index }}: {{ line }}\\n{% endfor %}
{% for word in text.split(' ')[:4] %}{{ word[0]|upper }}{{ word[1:] }} {% endfor %}
{{ (names|join(', ')).rsplit(', ', 1)|join(' and ') }}
{{ names[:-1]|join(', ') }} and {{ names|last }}
{{ rows|map(attribute='price')|sort|join(', ') }} {{ (rows|map(attribute='price')|sum) / (rows|length) }}
{% set best = rows|sort(attribute='price')|last %}{{ best.name }} costs {{ '{:.2f}'.format(best.price) }}
{% for r in rows|selectattr('stock', 'ne', 0)|sort(attribute='name') %}{{ r.name|lower }}{{ ', ' if not loop.last else '.' }}{% endfor %}
{% if n >= 1 and (name == 'Ada' or name in names) and not no %}ok{% endif %}
{{ lipsum is defined }} {{ range is defined }} {{ dict is callable }} {{ name is callable }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'zzz' is filter }}
You have {{ n }} new message{{ 's' if n != 1 }}.
{{ customer.name.split(' ')|first }} {{ customer.name.split()[-1]|upper }} {{ customer.tags[0][0] }}
{{ (customer.tags + ['new'])|join('/') }} {{ customer.tags|map('upper')|join }} {{ 'vip' in customer.tags }}
{{ span.seconds // 3600 }}h {{ (span.seconds // 60) % 60 }}m {{ when.hour }}:{{ '%02d' % when.minute }}
{{ html|e|safe }} {{ (html|e)|length }} {{ html|safe|upper }} {{ '<'|e ~ '<' }}
{{ price|int }} {{ '%.3e' % big_number }} {{ '%+d' % n }} {{ '%o' % 8 }} {{ '%c' % 'x' }} {{ '%r' % name }} {{ '%5.1f|' % price }} {{ '%%' % () }}
{{ [1, 2, 3][1:]|first }} {{ ({'a': 1}).a }} {{ {'a': {'b': [10, 20]}}['a']['b'][1] }} {{ ('a', 'b')[0] }} {{ 'abc'[1] }}
{{ n.bit_length() }} {{ price.is_integer() }} {{ n.real }} {{ names.index('bob') }} {{ numbers.count(2) }} {{ point.index(2) }}
{{ unique.union(['b'])|sort }} {{ unique.issubset(['only', 'x']) }} {{ d.keys()|sort|join }} {{ d.values()|sum }}
{{ text|truncate(length=30, end=' [cut]') }} {{ text|truncate(5, killwords=true) }} {{ 'short'|truncate(50) }} {{ text|wordwrap(width=25, break_long_words=false) }}
"""

FORMAT = """\
Hello {name}!
{name} has {n} items for {price:.2f} EUR.
{name:>10}|{name:<10}|{name:^10}|{name:*^10}|
{n:05d} {n:+d} {big_number:,} {big_number:_} {n:x} {n:b} {n:e} {ratio:.1%} {ratio:.3f} {price:g}
{name!r} {name!s} {name!a} {unicode!a} {names!r}
{names} {numbers} {none_yet} {mixed} {pairs}
{point} {d} {unique} {nothing} {yes} {config}
{d[a]} {config[model]} {config[params][temperature]} {point[0]} {name[0]}
{customer.name} {customer.address.city} {customer.tags} {customer.age:>4}
{customer} {customer.address}
{simple.a} {simple.b.c} {simple}
{when} {day} {when:%Y-%m-%d} {day:%d.%m.%Y} {clock:%H:%M} {when.year} {span}
{amount} {amount:.1f} {amount:>8} {tone} {tone.name} {tone.value} {priority}
{text} {lines} {html} {unicode}
{name:.2} {text:.10} {text:>70.5}|
{name:{n}}| {price:{n}.1f}|
{yes:d} {yes} {n!r:>5}| {price!s:>8}|
{question}\\n\\nAnswer:
Translate to {tone.value} English:\\n\\n{text}\\n
{name},{name},{name}
"""


def prompts() -> list[str]:
    """The templates in Jinja."""
    return [*CHAT.values(), *(line.replace("\\n", "\n") for line in PROMPTS.splitlines())]


def formats() -> list[str]:
    """The templates for `str.format`."""
    return [line.replace("\\n", "\n") for line in FORMAT.splitlines()]
