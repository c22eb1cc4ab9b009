//! What the documents promise has a test: every rule of docs/semantics.md is cited by one, and every test that a
//! table of docs/ names exists. Both checks are tried on samples that they must complain about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What section 17 calls its rules, in their order.
const GUARANTEES: [&str; 9] =
    ["Ordered", "Unique", "Atomic", "Reliable", "Resumable", "Bookmarkable", "Filter", "IsCreate", "PrevKV"];

/// Numbers of rules.
type Names = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder with one of the endings.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| endings.iter().any(|e| ending == *e)) {
                found.push(entry);
            }
        }
    }
    found
}

/// `12.5` at the beginning of a text.
fn number(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    let (section, rule) = number.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (digits(section) && digits(rule)).then_some(number)
}

/// The numbers of the rules: lines that begin with one.
fn rules(document: &str) -> Names {
    let rule =
        |line: &str| number(line).filter(|rule| line[rule.len()..].starts_with(' ')).map(str::to_string);
    document.lines().filter_map(rule).collect()
}

/// The rules that a comment cites: "etcd 3.1, 3.2 and 8.12", "S 19.1", "etcd 17 Ordered and Unique".
fn citations(comment: &str) -> Names {
    let mut cited = Names::new();
    if comment.contains("etcd 17 ") {
        let named = |(at, name)| comment.contains(name).then(|| format!("17.{at}"));
        cited.extend((1..).zip(GUARANTEES).filter_map(named));
    }
    for mark in ["etcd ", "S "] {
        for (at, _) in comment.match_indices(mark) {
            let mut rest = &comment[at + mark.len()..];
            while let Some(rule) = number(rest) {
                // Section 19 is libwatch's own; what is cited otherwise is a rule that does not exist.
                let own = rule.starts_with("19.");
                cited.insert(if own == (mark == "S ") { rule.to_string() } else { format!("{mark}{rule}") });
                rest = &rest[rule.len()..];
                let Some(next) =
                    [", and ", ", ", " and "].iter().find_map(|between| rest.strip_prefix(between))
                else {
                    break;
                };
                rest = next;
            }
        }
    }
    cited
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    ["//", "/*", "*", "#[", "@", "# "].iter().any(|mark| line.starts_with(mark))
}

/// The tests of a source file: their names, with the comments directly above and at the beginning of the body.
fn tests(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let rust = code.strip_prefix("fn ").filter(|_| has_attribute(&lines[..i]));
        let python = ["def test_", "async def test_"].iter().find_map(|mark| code.strip_prefix(mark));
        let name = match (rust, python) {
            (Some(rest), _) => word(rest),
            (_, Some(rest)) => format!("test_{}", word(rest)),
            _ => continue,
        };
        let above = lines[..i].iter().rev().take_while(|line| is_comment(line));
        let within = lines[i + 1..].iter().take_while(|line| {
            let line = line.trim_start();
            line.starts_with("//") || line.starts_with("# ") || line.starts_with("\"\"\"")
        });
        found.insert(name, above.chain(within).copied().collect::<Vec<_>>().join("\n"));
    }
    found
}

fn has_attribute(before: &[&str]) -> bool {
    before.iter().rev().take_while(|line| is_comment(line)).any(|line| line.trim() == "#[test]")
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The tests that a document names: `tests/watch.rs: one_test`, in backticks.
fn named(document: &str) -> Vec<(String, String)> {
    let quoted = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter_map(|text| text.split_once(": "))
        .filter(|(file, _)| ["tests/", "src/", "bindings/"].iter().any(|top| file.starts_with(top)))
        .map(|(file, test)| (file.to_string(), test.to_string()))
        .collect()
}

/// Whether a source file has the test: a function of this name, in Python perhaps of a class.
fn has_test(text: &str, name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    let defines = |line: &str| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + name.len()..].chars().next();
            let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            apart(before) && apart(after) && !line.trim_start().starts_with("//")
        })
    };
    text.lines().any(defines)
}

#[test]
fn every_rule_is_cited_by_a_test() {
    let rules = rules(&read(&root().join("docs/semantics.md")));
    assert!(rules.len() > 100, "only {} rules were found", rules.len());
    let mut cited: BTreeMap<String, usize> = BTreeMap::new();
    for folder in ["tests", "src", "bindings"] {
        for file in files(folder, &["rs", "py"]) {
            for comment in tests(&read(&file)).values() {
                citations(comment).into_iter().for_each(|rule| *cited.entry(rule).or_default() += 1);
            }
        }
    }
    let without: Vec<&String> = rules.iter().filter(|rule| !cited.contains_key(*rule)).collect();
    assert!(without.is_empty(), "no test cites {without:?}");
    let unknown: Vec<&String> = cited.keys().filter(|rule| !rules.contains(*rule)).collect();
    assert!(unknown.is_empty(), "tests cite rules that docs/semantics.md does not have: {unknown:?}");
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut count = 0;
    let mut missing = Vec::new();
    for document in files("docs", &["md"]) {
        for (file, test) in named(&read(&document)) {
            count += 1;
            let path = root().join(&file);
            if !path.is_file() || !has_test(&read(&path), &test) {
                missing.push(format!("{}: {file}: {test}", document.display()));
            }
        }
    }
    assert!(count > 300, "only {count} tests are named");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn rules_and_citations_are_read_right() {
    let document = "# 3\n3.1 First.\n3.12 Second\n 3.4 indented\n3.5: none\nrule 3.6 none\n3. none\n";
    assert_eq!(rules(document), Names::from(["3.1".into(), "3.12".into()]));
    let cited =
        citations("/// etcd 3.1, 3.12 and 8.1: words 9.9\n// S 19.1, etcd 2.4. And 7.7\n// etcd main");
    assert_eq!(cited.into_iter().collect::<Vec<_>>(), ["19.1", "2.4", "3.1", "3.12", "8.1"]);
    assert_eq!(citations("etcd 19.1"), Names::from(["etcd 19.1".into()]));
    let cited = citations("// etcd 17 Unique, PrevKV, 4.1\n// Ordered");
    assert_eq!(cited.into_iter().collect::<Vec<_>>(), ["17.1", "17.2", "17.9"]);
    let document = read(&root().join("docs/semantics.md"));
    for (at, name) in (1..).zip(GUARANTEES) {
        assert!(document.contains(&format!("\n17.{at} {name}: ")), "{name} is not 17.{at}");
    }
}

#[test]
fn a_comment_belongs_to_the_test_below_it_only() {
    let source = "/// etcd 1.1\n#[test]\nfn one() {\n    // etcd 1.2\n    let x = 1;\n    // etcd 1.3\n}\n\n\
                  /// etcd 1.4\nfn helper() {}\n\n# etcd 1.5\ndef test_two():\n    \"\"\"etcd 1.6\"\"\"\n";
    let found = tests(source);
    let rules = |name: &str| citations(&found[name]).into_iter().collect::<Vec<_>>();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["one", "test_two"]);
    assert_eq!(rules("one"), ["1.1", "1.2"]);
    assert_eq!(rules("test_two"), ["1.5", "1.6"]);
}

#[test]
fn a_named_test_that_does_not_exist_is_noticed() {
    let document = "| x | `tests/a.rs: one`, `tests/b.py: T.test_two` - why | `code: no` |";
    let expected = [("tests/a.rs", "one"), ("tests/b.py", "T.test_two")];
    assert_eq!(named(document), expected.map(|(file, test)| (file.to_string(), test.to_string())));
    assert!(has_test("fn one() {}", "one"));
    assert!(!has_test("fn one_more() {}", "one"));
    assert!(!has_test("// fn one() {}", "one"));
    assert!(has_test("    def test_two(self):", "T.test_two"));
}
