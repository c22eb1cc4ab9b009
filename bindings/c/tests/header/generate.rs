//! Writes the header: cbindgen gives each declaration as a block of text, header.in their order. A
//! declaration that header.in does not name, or a name that is not declared, is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const LINE_MAX: usize = 110;

/// The text of watch.h for the package in `root`.
pub fn header(root: &Path) -> String {
    let mut blocks = blocks(&cbindgen_text(root));
    inline_union(&mut blocks, "watch_op", "watch_op_request");
    let template = fs::read_to_string(root.join("header.in")).expect("header.in");
    let (mut header, mut declared) = (String::new(), BTreeSet::new());
    for line in template.lines() {
        if let Some(name) = line.strip_prefix('@') {
            let block =
                blocks.remove(name).unwrap_or_else(|| panic!("header.in: {name} is not declared in src"));
            declared.insert(name.to_owned());
            header.push_str(&joined(&without_tags(&tidy(&block), &declared)));
        } else {
            header.push_str(line);
        }
        header.push('\n');
    }
    let left: Vec<_> = blocks.keys().collect();
    assert!(left.is_empty(), "header.in does not name {left:?}");
    header
}

fn cbindgen_text(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().expect("cbindgen").write(&mut text);
    String::from_utf8(text).expect("the header is text")
}

/// Declarations by name, each with its comment.
fn blocks(text: &str) -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let name = name_of(block).unwrap_or_else(|| panic!("no name in\n{block}"));
        let before = blocks.insert(name.clone(), block.to_owned());
        assert!(before.is_none(), "{name} is declared twice");
    }
    blocks
}

/// The name that a block declares.
fn name_of(block: &str) -> Option<String> {
    let mut rest = block;
    while let Some(comment) = rest.trim_start().strip_prefix("/**") {
        rest = comment.split_once("*/")?.1;
    }
    let line = rest.trim_start().lines().next()?;
    let words = |text: &str| text.split_whitespace().next().map(str::to_owned);
    for prefix in ["#define ", "enum ", "typedef struct ", "typedef union "] {
        if let Some(rest) = line.strip_prefix(prefix) {
            return words(rest);
        }
    }
    if let Some((_, rest)) = line.split_once("(*") {
        return rest.split_once(')').map(|(name, _)| name.to_owned());
    }
    let head = line.split_once('(').map_or(line, |(head, _)| head).trim_end_matches(';');
    head.rsplit([' ', '*']).next().map(str::to_owned)
}

/// Writes a union into the one struct that has it, as a union without a name.
fn inline_union(blocks: &mut BTreeMap<String, String>, holder: &str, union: &str) {
    let body = blocks.remove(union).expect("the union is declared");
    let members =
        body.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).expect("a union has members").0;
    let members = members.trim_matches('\n').replace("\n  ", "\n    ");
    let text = blocks.get_mut(holder).expect("the struct is declared");
    let member = format!("  union {union} request;");
    assert!(text.contains(&member), "{holder} has no line {member}");
    *text = text.replace(&member, &format!("  union {{\n  {members}\n  }} request;"));
}

/// Brings a block into the form of the header: enumerations lose their name, so that nothing but integers can
/// have their type; comments of members go behind them; comments of one line take one line; so do functions.
fn tidy(block: &str) -> String {
    let is_enum = block.lines().any(|line| line.starts_with("enum "));
    let mut lines: Vec<String> = Vec::new();
    let mut comment: Vec<String> = Vec::new();
    let mut in_comment = false;
    for line in block.lines() {
        let text = line.trim();
        match text {
            "/**" => in_comment = true,
            "*/" => in_comment = false,
            _ if in_comment => comment.push(text.trim_start_matches('*').trim().to_owned()),
            _ if is_enum && line.starts_with("enum ") => {
                push_commented(&mut lines, "enum {", &std::mem::take(&mut comment));
            }
            // Only C23 and the name of the type are left out, which nothing uses.
            _ if is_enum && !text.starts_with("WATCH_") && text != "};" => {}
            _ if is_enum => {
                let line = line.replace("(1 <<", "1 <<").replace("),", ",");
                push_commented(&mut lines, &line, &std::mem::take(&mut comment));
            }
            _ => push_commented(&mut lines, line, &std::mem::take(&mut comment)),
        }
    }
    lines.join("\n")
}

/// Puts the arguments of a function into one line where they fit.
fn joined(block: &str) -> String {
    let (comment, declaration) = match block.split_once("*/\n") {
        Some((comment, declaration)) if block.starts_with("/**") => (comment, declaration),
        _ => ("", block),
    };
    let line = declaration.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if declaration.contains('{') || declaration.starts_with('#') || line.len() > LINE_MAX {
        return block.to_owned();
    }
    if comment.is_empty() { line } else { format!("{comment}*/\n{line}") }
}

fn push_commented(lines: &mut Vec<String>, line: &str, comment: &[String]) {
    let indent = &line[..line.len() - line.trim_start().len()];
    let is_member = !indent.is_empty();
    let (heading, comment) = match comment.iter().position(String::is_empty) {
        Some(empty) if is_member => (&comment[..empty], &comment[empty + 1..]),
        _ => (&comment[..0], comment),
    };
    if !heading.is_empty() {
        lines.push(String::new());
        lines.push(format!("{indent}/* {} */", heading.join(" ")));
    }
    match comment {
        [] => lines.push(line.to_owned()),
        [only] if is_member && line.len() + only.len() + 9 <= LINE_MAX => {
            lines.push(format!("{line} /**< {only} */"));
        }
        [only] => {
            lines.push(format!("{indent}/** {only} */"));
            lines.push(line.to_owned());
        }
        [first, rest @ ..] => {
            lines.push(format!("{indent}/** {first}"));
            lines.extend(rest.iter().map(|text| format!("{indent} * {text}").trim_end().to_owned()));
            let last = lines.pop().unwrap_or_default();
            lines.push(format!("{last} */"));
            lines.push(line.to_owned());
        }
    }
}

/// Says `watch_bytes` instead of `struct watch_bytes` where the type has been declared above.
fn without_tags(block: &str, declared: &BTreeSet<String>) -> String {
    let mut text = String::new();
    let mut rest = block;
    while let Some(at) = rest.find("struct watch_") {
        let (before, from) = rest.split_at(at);
        let name = &from["struct ".len()..];
        let end = name.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = &name[..end];
        let is_own = before.ends_with("typedef ") || (text.is_empty() && before.contains("typedef struct"));
        text.push_str(before);
        let known = declared.contains(name) && !block.contains(&format!("typedef struct {name} {{"));
        text.push_str(if known && !is_own { "" } else { "struct " });
        text.push_str(name);
        rest = &from["struct ".len() + end..];
    }
    text + rest
}
