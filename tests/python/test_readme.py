"""The documents say what is so: the README's Python runs; lists of bounds and unsafe files and links hold."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def run(source: str, names: dict[str, object]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), names)
    return printed.getvalue()


def test_first_program_prints_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, expected = blocks("python")[0], blocks("text")[0]
    assert run(program, {}) == expected
    assert run(program, {}) == expected, "a second run begins with the same history"


def test_five_minutes_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = blocks("python")[1:]
    assert len(lines) == README.split("## Python in five minutes")[1].split("\n## ")[0].count("```python")
    names: dict[str, object] = {}
    for block in lines:
        run(block, names)


def constants(source: str) -> dict[str, int]:
    """The public numbers of limits.rs; its expressions are Python's as well."""
    found = re.findall(r"^pub const (\w+): \w+ = ([\d_ *<-]+);", source, re.MULTILINE)
    return {name: int(eval(expression, {"__builtins__": {}})) for name, expression in found}


def test_limits_page_has_every_bound_with_its_number() -> None:
    source = (ROOT / "src/limits.rs").read_text()
    page = (ROOT / "docs/limits.md").read_text()
    bounds = constants(source)
    assert len(bounds) == source.count("pub const ")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.MULTILINE)
    assert {name: int(number.replace(",", "")) for name, number in rows} == bounds


def test_unsafe_page_names_exactly_the_files_with_unsafe() -> None:
    keyword = re.compile(r"^(?!\s*//).*(?<![\w`])unsafe(?: \{| fn| impl| trait| extern|\()", re.MULTILINE)
    sources = [path for folder in ("src", "bindings") for path in (ROOT / folder).rglob("*.rs")]
    have = {str(path.relative_to(ROOT)) for path in sources if keyword.search(path.read_text())}
    page = (ROOT / "docs/unsafe.md").read_text()
    assert set(re.findall(r"^\| `([\w/.]+\.rs)` \|", page, re.MULTILINE)) == have


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    named = re.findall(r"`((?:src|bindings|tests|docs|demo|include|python)/[\w./-]+\.\w+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_anchors_of_the_readme_are_its_headings() -> None:
    text = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
