"""What a prompt's YAML says, what is wrong with it, and where each line of its text stands."""

from __future__ import annotations

import threading
from time import process_time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from yamlgraph_prompts._yaml_file import LIMIT_BYTES, parse_prompt, parse_yaml
from yamlgraph_prompts.findings import Finding


def only_finding(data: bytes | str) -> Finding:
    found = parse_prompt(data.encode() if isinstance(data, str) else data)
    assert found.content == {} or found.findings[0].severity == "warning"
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def place(finding: Finding) -> tuple[str, int | None, int | None]:
    return finding.code, finding.line, finding.column


# What it says


@pytest.mark.parametrize(
    "text",
    [
        "system: Be kind.\nuser: Hi {name}\n",
        "user: |\n  a\n  b\n",
        "user: >-\n  a\n  b\n\n  c\n",
        "a: &x {k: 1}\nb: {<<: *x, l: 2}\nc: *x\n",
        "on: yes\nn: 010\nh: 0x1f\nd: 2001-01-01\nf: 1.5\ns: 1:30\nz: ~\n",
        "b: !!binary aGk=\ns: !!set {a, b}\no: !!omap [a: 1]\nt: !!str 5\n",
        "\ufeffuser: a\r\nsystem: b\r\n",
        "user: 'it''s'\nsystem: \"a\\tb\\u00e9\"\n",
        "--- \nuser: x\n...\n",
        "%YAML 1.1\n---\nuser: x\n",
        "user: |\n  a\ttab\nsystem: 'b\t'\n",
    ],
)
def test_it_reads_what_safe_load_reads(text):
    found = parse_prompt(text.encode())
    assert found.findings == ()
    assert found.content == yaml.safe_load(text)


@pytest.mark.parametrize("data", [b"", b"# only a comment\n", b"~", b"---\n"])
def test_an_empty_file_is_not_a_mapping(data):
    finding = only_finding(data)
    assert place(finding) == ("not-a-mapping", 1, 1)
    assert "empty" in finding.message


@pytest.mark.parametrize(
    ("data", "word"), [(b"user:hello", "colon needs a space"), (b"- a", "keys"), (b"5", "keys")]
)
def test_a_file_that_is_no_mapping_says_what_to_write(data, word):
    finding = only_finding(data)
    assert place(finding) == ("not-a-mapping", 1, 1)
    assert word in finding.hint


def test_parse_yaml_takes_any_value():
    assert parse_yaml(b"[1, 2]") == ([1, 2], ())
    assert parse_yaml(b"") == (None, ())


# What is wrong with it, and where


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("user: Note: do it\n", 1, 11, "colon"),
        ("system: x\nuser: @name hi\n", 2, 7, "'@'"),
        ("user: `code`\n", 1, 7, "'`'"),
        ("user: %x\n", 1, 7, "'%'"),
        ("user:\n\tx: 1\n", 2, 1, "tab"),
        ("user: |\n\tx\n", 2, 1, "tab"),
        ("user:\n\tx: {name}\n", 2, 1, "tab"),
        ("user:\n  a: 1\n \tb: {x}\n", 3, 2, "tab"),
        ("user:\thello\n", 1, 6, "tab"),
        ("user: hello\t\n", 1, 12, "tab"),
        ('system: x\nuser: "abc\nmore: y\n', 2, 7, "never closed"),
        ("user: 'it's'\n", 1, 11, "after a closing '"),
        ("user: {name}, hi\n", 1, 7, "`{name}` is not read as text"),
        ("user: {{ name }}\n", 1, 8, "`{{`"),
        ("user: {{ name }} hi\n", 1, 7, "`{`"),
        ("user: {% if x %}a\n", 1, 7, "`{`"),
        ("user: [x] hi\n", 1, 7, "`[`"),
        ("user: hello\nworld\nsystem: x\n", 2, 1, "no key"),
        ("system: |\n    a\n  b\nuser: x\n", 3, 3, "does not fit"),
        ("user: |text\n", 1, 8, "must end their line"),
        ("user: > text\n", 1, 9, "must end their line"),
        ("user: *name\n", 1, 7, "anchor"),
        ("user: **bold** x\n", 1, 8, "not read as text"),
        ("user: !name x\n", 1, 7, "tag '!name'"),
        ("user: !!python/object:os.x {}\n", 1, 7, "python/object"),
        ('user: "a\\d"\n', 1, 9, "backslash"),
        ("user: - a\n", 1, 7, "list"),
        ("user: ? a\n", 1, 7, "`? `"),
        ("user: a\n---\nuser: b\n", 2, 1, "second document"),
        ("a: &x 1\nb: &x 2\n", 2, 4, "anchor was given already"),
        ("user: x\n\nsystem: a\x07b\n", 3, 10, "U+0007"),
        ("  user: x\nsystem: y\n", 2, 1, "above it"),
        ("- a\nb: c\n", 2, 1, "mixed"),
        ("user: [a, b\n", 1, 7, "not closed"),
        ("user: ]\n", 1, 7, "cannot start"),
        ("user: |0\n x", 1, 8, "1 to 9"),
        ("? [a]\n: b\n", 1, 3, "a key must be text"),
        ("user: !!int foo\n", 1, 7, "is none"),
        ("n:\n  d: 2001-99-99\n", 2, 6, "is none"),
        ("<<: 3\n", 1, 5, "merges mappings"),
        ("user: =\n", 1, 7, "lone `=`"),
    ],
)
def test_broken_yaml_is_explained_at_its_place(text, line, column, word):
    finding = only_finding(text)
    assert place(finding) == ("yaml-syntax", line, column)
    assert word in finding.message
    assert finding.severity == "error"
    assert finding.hint


@pytest.mark.parametrize(
    "text", ["user: 'it's'\n", "user: a\nb\n", "user: Note: x\n", "user: |x\n"]
)
def test_the_pure_parser_is_explained_in_the_same_words(text, monkeypatch):
    expected = only_finding(text)
    monkeypatch.setattr("yamlgraph_prompts._yaml_file.parse._Loader", yaml.SafeLoader)
    assert only_finding(text).message == expected.message


def test_a_file_that_is_not_utf8_is_told_with_the_place_of_the_bad_byte():
    assert place(only_finding(b"user: ok\nsystem: caf\xe9\n")) == ("not-utf8", 2, 12)


def test_utf16_is_named():
    assert "UTF-16" in only_finding("user: x".encode("utf-16")).message


def test_a_key_given_twice_is_a_warning_and_the_last_one_counts():
    found = parse_prompt(b"user: a\nsystem: s\nuser: b\n")
    assert found.content["user"] == "b"
    assert [(f.severity, *place(f)) for f in found.findings] == [("warning", "duplicate-key", 3, 1)]
    assert "line 1" in found.findings[0].message


def test_duplicate_keys_are_found_at_every_level_in_their_order():
    found = parse_prompt(b"s:\n  f:\n    a: 1\n    a: 2\nl:\n  - {b: 1, b: 2}\ns: 1\n")
    assert [(f.line, f.column) for f in found.findings] == [(4, 5), (6, 12), (7, 1)]


def test_two_merges_are_no_duplicate_key():
    assert parse_prompt(b"a: &a {x: 1}\nb: {<<: *a, <<: *a}\n").findings == ()


# Bounds


def test_a_file_over_the_limit_is_not_read():
    assert only_finding(b"#" * (LIMIT_BYTES + 1)).code == "too-large"
    assert parse_prompt(b"user: x", limit_bytes=3).findings[0].code == "too-large"


# Each opens one level or more, as long as it goes on.
NESTINGS = ["[", "{", "[{", "{[", "[[{", "[a: ", "{a: ", "{a: [", "[? ", "{? ", "? [", "- ", "? "]
NESTINGS += ["- - ? ", "- ? - ", "&a [", "&a {", "!!seq [", "!!map {", "!x [", "&a !!seq [{"]
NESTINGS += ["[*a, ", "{*a : ", "[ x, ", '["é", ']


@pytest.mark.parametrize("opening", NESTINGS)
@pytest.mark.slow
def test_deep_nesting_is_refused_and_never_reaches_the_parsers_stack(opening):
    found: list[list[Finding]] = []

    def read() -> None:
        for start in ("", "\ufeff", "# a comment\n", "user: hi\nlist:\n  "):
            for size in (4_000, LIMIT_BYTES):
                text = start + opening * ((size - 30) // len(opening.encode()))
                if "*a" in opening:
                    text = text.replace("*a", "&a x", 1)
                found.append([only_finding(text), only_finding(text + "\n]@")])

    old = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)
    assert len(found) == 8
    assert {finding.code for pair in found for finding in pair} == {"too-deep"}
    assert {tuple(map(place, pair)) for pair in found[:2]} == {tuple(map(place, found[0]))}


@pytest.mark.parametrize("levels", [101, 1_000, 1_400])
def test_deep_indentation_is_refused(levels):
    text = "\n".join(" " * level + "a:" for level in range(levels))
    assert place(only_finding(text)) == ("too-deep", 101, 101)


def test_a_hundred_levels_are_read():
    text = "[" * 99 + "]" * 99
    assert parse_prompt(f"a: {text}".encode()).findings == ()
    assert only_finding(f"a: [{text}]").code == "too-deep"


def test_many_brackets_and_bullets_are_not_depth():
    text = "user: |\n" + "  - a [b] {c}: d? [e]\n" * 2000 + "list:\n" + "  - [a, b]\n" * 500
    assert parse_prompt(text.encode()).findings == ()


def test_depth_through_aliases_counts():
    lines = ["a0: &a0 [[[[[[[[[[x]]]]]]]]]]"]
    lines += [f"a{i}: &a{i} [[[[[[[[[[*a{i - 1}]]]]]]]]]]" for i in range(1, 12)]
    assert only_finding("\n".join(lines)).code == "too-deep"


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert place(only_finding("\n".join(lines))) == ("alias-bomb", 5, 5)


def test_a_merge_bomb_is_refused():
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    assert only_finding("\n".join(lines)).code == "alias-bomb"


def test_aliases_within_the_bound_are_read():
    found = parse_prompt(b"a: &a [1, 2]\nb: [*a, *a]\n")
    assert found.content["b"] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a {<<: *a}"])
def test_an_anchor_within_itself_is_refused(text):
    assert only_finding(text).code == "alias-bomb"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x: " + "1:" * 400_000 + "1", "too-large"),
        ("x: " + "9" * 1_000_000, "too-large"),
        ("{" + ",".join(str(k * (2**61 - 1)) for k in range(1, 12_000)) + "}", "alias-bomb"),
        ("b: {" + "<<: {}," * 20_000 + "}", "alias-bomb"),
        ("%TAG !a! x\n" * 80_000, "yaml-syntax"),
        ("[" + "&a" * 10 + "," * 100, "yaml-syntax"),
    ],
)
def test_slow_yaml_is_refused_in_time(text, code):
    began = process_time()
    assert only_finding(text).code == code
    assert process_time() - began < 5


def test_a_thousand_repeated_keys_do_not_drown_the_report():
    assert len(parse_prompt(b"a: 1\n" * 1000).findings) == 100


# Where it stands


FILE = b"""\
system: &s Be kind
user: |
  Hello {name},

  bye
folded: >
  one
  two

  three
    more
  four
double: "one \\
  two\\nthree
  four"
single: 'it''s

  here'
plain: one
  two

  three
system_segments:
  - content: !!str |2
       first
      second
    cache: true
base: &base {inner: deep}
merged:
  <<: *base
"""


@pytest.fixture
def file():
    found = parse_prompt(FILE)
    assert found.findings == ()
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("system",), (1, 9)),
        (("user",), (2, 7)),
        (("system_segments",), (24, 3)),
        (("system_segments", 0, "content"), (24, 14)),
        (("system_segments", 0, "cache"), (27, 12)),
        (("merged", "inner"), (28, 21)),
        (("nothing",), None),
        (("system_segments", 5), None),
        (("system", "x"), None),
    ],
)
def test_the_position_of_a_value(file, path, expected):
    assert file.position(*path) == expected


def test_the_position_of_a_key(file):
    assert file.key_position("user") == (2, 1)
    assert file.key_position("system_segments", 0, "cache") == (27, 5)
    assert file.key_position("system_segments", 0) == (24, 5)


@pytest.mark.parametrize(
    ("path", "text", "line", "column", "expected"),
    [
        (["user"], "Hello {name},\n\nbye\n", 1, 7, (3, 9)),
        (["user"], None, 2, 1, (4, 1)),
        (["user"], None, 3, 2, (5, 4)),
        (["folded"], "one two\nthree\n  more\nfour\n", 1, 1, (7, 3)),
        (["folded"], None, 1, 5, (8, 3)),
        (["folded"], None, 2, 1, (10, 3)),
        (["folded"], None, 3, 3, (11, 5)),
        (["folded"], None, 4, 1, (12, 3)),
        (["double"], "one two\nthree four", 1, 1, (13, 10)),
        (["double"], None, 1, 5, (14, 3)),
        (["double"], None, 2, 1, (14, 8)),
        (["double"], None, 2, 7, (15, 3)),
        (["single"], "it's\nhere", 1, 4, (16, 14)),
        (["single"], None, 2, 1, (18, 3)),
        (["plain"], "one two\nthree", 1, 5, (20, 3)),
        (["plain"], None, 2, 1, (22, 3)),
        (["system"], "Be kind", 1, 4, (1, 15)),
        (["system_segments", 0, "content"], " first\nsecond\n", 2, 1, (26, 7)),
    ],
)
def test_a_line_and_column_of_a_text_are_found_in_the_file(
    file, path, text, line, column, expected
):
    if text is not None:
        value = file.content
        for step in path:
            value = value[step]
        assert value == text
    assert file.text_position(path, line, column) == expected


def test_a_place_beyond_the_text_is_the_texts_end(file):
    assert file.text_position(["user"], 99, 99) == (5, 6)
    assert file.text_position(["nothing"], 1) is None


def test_a_file_that_was_refused_has_no_positions():
    assert parse_prompt(b"user: [" + b"[" * 200).position("user") is None


# Any bytes


YAML_PARTS = st.sampled_from(
    [
        *(
            "a",
            "user",
            ": ",
            ":",
            "\n",
            "\n  ",
            " ",
            "- ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "'",
            '"',
        ),
        *("|\n  ", ">\n  ", "|-", "#", " #", "&a ", "*a", "<<: ", "!!str ", "!!int ", "!t ", "1"),
        *("yes", "~", "2001-01-01", "1:30", "\\n", "\\", "\t", "---\n", "...\n", "é", "{{ x }}"),
        *("\r\n", "\x00", "\u2028", "@", "%", "!!set ", "!!timestamp ", "!!binary ", "="),
    ]
)
YAMLISH = st.lists(YAML_PARTS, max_size=25).map("".join)
# Structure that PyYAML's two parsers read differently; none of it is in a real prompt.
PARSERS_DISAGREE = ("?", "%", "|", ">", "...", "---", ":}", ":]", ":,", "\x85", "\u2028")


@given(st.binary(max_size=400) | YAMLISH.map(str.encode))
@example(b"\xef\xbb\xbf")
@example("user: '\ud7ff'".encode())
def test_no_bytes_raise_anything(data):
    found = parse_prompt(data)
    if any(finding.severity == "error" for finding in found.findings):
        assert found.content == {}
    for key in found.content:
        position = found.position(key)
        assert position is None or min(position) >= 1


@given(YAMLISH)
def test_values_equal_those_of_safe_load(text):
    try:
        expected = yaml.safe_load(text)
    except Exception:  # noqa: BLE001 - safe_load raises what int() and others do
        if not any(sign in text for sign in PARSERS_DISAGREE):
            assert parse_yaml(text.encode())[1]
        return
    value, findings = parse_yaml(text.encode())
    if not any(finding.severity == "error" for finding in findings):
        assert repr(value) == repr(expected)
    elif not any(sign in text for sign in PARSERS_DISAGREE):
        assert {f.code for f in findings} & {"alias-bomb"}


LINES = st.lists(
    st.text(alphabet="ab {}'\"\\:#-é🙂", max_size=12).map(str.rstrip), min_size=1, max_size=6
)


@given(LINES, st.sampled_from([None, "'", '"', "|", ">"]), st.integers(10, 80))
def test_every_character_of_a_text_is_found_in_the_file(lines, style, width):
    text = "\n".join(lines)
    data = yaml.dump({"user": text}, default_style=style, width=width, allow_unicode=True)
    file = parse_prompt(data.encode())
    source = data.split("\n")
    assert file.content == {"user": text}
    for number, line in enumerate(text.split("\n"), 1):
        for at, char in enumerate(line, 1):
            row, column = file.text_position(["user"], number, at)
            here = source[row - 1][column - 1 : column]
            assert here in (char, "\\") or (char == " " and here == "")
