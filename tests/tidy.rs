//! Rules over the source text that the compiler does not know. Each rule is a function from text to complaints,
//! and has a test of its own with a sample that it must complain about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, lowest first; each uses those before it and the words that belong to all (D13 of the design).
const LAYERS: [&str; 7] = ["os", "log", "index", "mvcc", "watch", "store", "tools"];
const WORDS: [&str; 8] = ["error", "limits", "options", "types", "key_range", "request", "report", "sync"];

/// The files with `unsafe`, and why.
const UNSAFE: [(&str, &str); 22] = [
    ("src/os/fork.rs", "pthread_atfork"),
    ("src/os/memory.rs", "memory that is written while it is read, behind a published length"),
    ("src/os/prefetch.rs", "the processor's prefetch instruction"),
    ("src/os/real.rs", "system calls of files"),
    ("src/os/region.rs", "mappings that are written while they are read, behind a published length"),
    ("src/os/thread.rs", "the signal mask of threads"),
    ("src/os/wake.rs", "futex and eventfd"),
    ("bindings/c/src/foreign.rs", "function pointers of the caller"),
    ("bindings/c/src/handle.rs", "handles that C owns"),
    ("bindings/c/src/log.rs", "functions exported to C"),
    ("bindings/c/src/ops.rs", "functions exported to C"),
    ("bindings/c/src/ptr.rs", "pointers of the caller"),
    ("bindings/c/src/request.rs", "structures of the caller"),
    ("bindings/c/src/response.rs", "functions exported to C"),
    ("bindings/c/src/result.rs", "functions exported to C"),
    ("bindings/c/src/sized.rs", "structures of the caller, of a size that it names"),
    ("bindings/c/src/status.rs", "functions exported to C"),
    ("bindings/c/src/store.rs", "functions exported to C"),
    ("bindings/c/src/stream.rs", "functions exported to C"),
    ("bindings/c/src/tools.rs", "functions exported to C"),
    ("bindings/c/src/version.rs", "functions exported to C"),
    ("bindings/python/src/view.rs", "the buffer protocol"),
];

/// Errors that have no exception class of their own in Python.
const CLASSLESS: [&str; 11] = [
    "WATCH_ERR_INVALID_STATE",
    "WATCH_ERR_UNSUPPORTED",
    "WATCH_ERR_ABI_MISMATCH",
    "WATCH_ERR_NO_SPACE",
    "WATCH_ERR_READ_ONLY",
    "WATCH_ERR_FORMAT",
    "WATCH_ERR_FILESYSTEM",
    "WATCH_ERR_NO_MEMORY",
    "WATCH_ERR_PANIC",
    "WATCH_ERR_FORKED",
    "WATCH_ERR_IO",
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const CODE_COLUMNS: usize = 110;
/// With a comment; rustfmt leaves those alone, and a few words more do not hurt there.
const COMMENT_COLUMNS: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with one of the endings, by their path from the root.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            let ending = entry.extension().and_then(|ending| ending.to_str()).unwrap_or("");
            if entry.is_dir() {
                folders.push(entry);
            } else if endings.contains(&ending) {
                let name = entry.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
                found.push((name, std::fs::read_to_string(&entry).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// What the library is made of.
fn library() -> Vec<(String, String)> {
    ["src", "bindings/c/src", "bindings/python/src"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .collect()
}

fn all_hold(rule: impl Fn(&str, &str) -> Vec<String>, files: &[(String, String)]) {
    assert!(!files.is_empty(), "no files were found");
    let complaints: Vec<String> = files.iter().flat_map(|(name, text)| rule(name, text)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The lines of a file with their numbers, without comments, up to its unit tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = |line: &&str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
    let body = text.lines().take_while(move |line| !tests(line)).enumerate();
    body.map(|(i, line)| (i + 1, line.split("//").next().unwrap_or(""))).filter(|(_, line)| !line.is_empty())
}

fn has_word(line: &str, word: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let before = rest[..at].chars().next_back().is_some_and(is_part);
        let after = rest[at + word.len()..].chars().next().is_some_and(is_part);
        if !before && !after {
            return true;
        }
        rest = &rest[at + word.len()..];
    }
    false
}

fn layers(name: &str, text: &str) -> Vec<String> {
    let Some(layer) = name.strip_prefix("src/").and_then(|rest| rest.split(['/', '.']).next()) else {
        return Vec::new();
    };
    let own = LAYERS.iter().position(|known| *known == layer);
    if own.is_none() && !WORDS.contains(&layer) {
        return if layer == "lib" { Vec::new() } else { vec![format!("{name}: belongs to no layer")] };
    }
    let below = own.map_or(&[][..], |own| &LAYERS[..=own]);
    let mut complaints = Vec::new();
    for (number, line) in code(text) {
        for used in line.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_lowercase() || *c == '_').collect();
            if !used.is_empty() && !WORDS.contains(&used.as_str()) && !below.contains(&used.as_str()) {
                complaints.push(format!("{name}:{number}: {layer} uses {used}"));
            }
        }
    }
    complaints
}

fn unsafe_code(name: &str, text: &str) -> Vec<String> {
    let uses = |line: &str| has_word(line, "unsafe") && !line.contains("unsafe_");
    let found: Vec<usize> = code(text).filter(|(_, line)| uses(line)).map(|(number, _)| number).collect();
    let listed = UNSAFE.iter().any(|(listed, _)| *listed == name);
    let mut complaints = Vec::new();
    match (found.first(), listed) {
        (Some(number), false) => {
            complaints.push(format!("{name}:{number}: unsafe in a file that is not listed"))
        }
        (None, true) => complaints.push(format!("{name}: is listed, but nothing in it is unsafe")),
        _ => {}
    }
    let lines: Vec<&str> = text.lines().collect();
    for number in found {
        let line = lines[number - 1];
        let opens = line.contains("unsafe {") || line.contains("unsafe impl") || line.contains("unsafe(");
        // The comment stands above the statement, whose first lines may come before the block.
        let above = &lines[number.saturating_sub(8)..number];
        if opens && !line.contains("#[unsafe") && !above.iter().any(|line| line.contains("SAFETY:")) {
            complaints.push(format!("{name}:{number}: unsafe without a SAFETY comment"));
        }
    }
    complaints
}

fn sizes(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut complaints = Vec::new();
    if lines.len() >= FILE_LINES {
        complaints.push(format!("{name}: {} lines", lines.len()));
    }
    for (i, line) in lines.iter().enumerate() {
        let code =
            if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or("") };
        if code.chars().count() > CODE_COLUMNS || line.chars().count() > COMMENT_COLUMNS {
            complaints.push(format!("{name}:{}: too long", i + 1));
        }
        let starts =
            ["fn ", "pub fn ", "pub(", "unsafe fn ", "pub unsafe ", "const fn ", "pub const fn ", "extern "];
        let body = line.trim_start();
        if !starts.iter().any(|start| body.starts_with(start)) || !has_word(body, "fn") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - body.len()]);
        if body.ends_with(['}', ';']) {
            continue;
        }
        let length = lines[i..].iter().position(|line| *line == end).map_or(1, |length| length + 1);
        if length > FUNCTION_LINES {
            complaints.push(format!("{name}:{}: a function of {length} lines", i + 1));
        }
    }
    complaints
}

fn ascii(name: &str, text: &str) -> Vec<String> {
    let bad = text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
    bad.map(|(i, _)| format!("{name}:{}: not ASCII", i + 1)).collect()
}

fn leftovers(name: &str, text: &str) -> Vec<String> {
    let never = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let not_in_library = ["println!", "eprintln!", "print!", "eprint!"];
    let complain = |number: usize, word: &str| format!("{name}:{number}: {word}");
    let mut complaints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        complaints
            .extend(never.iter().filter(|word| line.contains(**word)).map(|word| complain(i + 1, word)));
    }
    for (number, line) in code(text) {
        let printed = not_in_library.iter().filter(|word| has_word(line, word.trim_end_matches('!')));
        complaints.extend(printed.filter(|word| line.contains(**word)).map(|word| complain(number, word)));
    }
    complaints
}

/// Source files that no `mod` names.
fn orphans(files: &[(String, String)]) -> Vec<String> {
    let mut named = BTreeSet::new();
    for (name, text) in files {
        let path = PathBuf::from(name);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        let is_root = ["lib", "main", "mod"].contains(&stem);
        let folder = if is_root { folder.to_path_buf() } else { folder.join(stem) };
        for line in text.lines() {
            let Some((head, module)) = line.trim().split_once("mod ") else { continue };
            let Some(module) =
                module.strip_suffix(';').filter(|_| head.is_empty() || head.starts_with("pub"))
            else {
                continue;
            };
            named.insert(folder.join(format!("{module}.rs")));
            named.insert(folder.join(module).join("mod.rs"));
        }
    }
    let is_root = |name: &str| name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    let orphans = files.iter().filter(|(name, _)| !is_root(name) && !named.contains(Path::new(name)));
    orphans.map(|(name, _)| format!("{name}: no mod names it")).collect()
}

/// The error codes of the header that are missing or have another number.
fn header_codes(header: &str, codes: &BTreeMap<&str, i32>) -> Vec<String> {
    let is_said = |(name, number): &(&&str, &i32)| {
        let said = format!("{name} = {number}");
        header
            .lines()
            .any(|line| line.trim().trim_end_matches(',').starts_with(&said) && !has_longer(line, &said))
    };
    let missing = codes.iter().filter(|code| !is_said(code));
    let mut complaints: Vec<String> =
        missing.map(|(name, number)| format!("the header does not say {name} = {number}")).collect();
    for line in header.lines() {
        if let Some((name, _)) = line.trim().split_once(" = -")
            && name.starts_with("WATCH_ERR_")
            && !codes.contains_key(name)
        {
            complaints.push(format!("the header has {name}, which is no error code"));
        }
    }
    complaints
}

fn has_longer(line: &str, said: &str) -> bool {
    line.trim()[said.len()..].starts_with(|c: char| c.is_ascii_digit())
}

/// The error codes that Python's classes miss, or have and should not.
fn python_codes(errors: &str, codes: &BTreeMap<&str, i32>) -> Vec<String> {
    let numbers: Vec<i32> =
        errors.lines().filter_map(|line| line.strip_prefix("    code = ")?.trim().parse().ok()).collect();
    let mut complaints = Vec::new();
    for (name, number) in codes {
        if !numbers.contains(number) && !CLASSLESS.contains(name) {
            complaints.push(format!("Python has no class for {name} = {number}"));
        }
    }
    for (i, number) in numbers.iter().enumerate() {
        if !codes.values().any(|known| known == number) || numbers[..i].contains(number) {
            complaints.push(format!("Python has {number} twice or without an error code"));
        }
    }
    complaints
}

fn codes() -> BTreeMap<&'static str, i32> {
    libwatch::ErrorCode::TABLE.iter().map(|(code, name, _)| (*name, code.number())).collect()
}

#[test]
fn layers_point_down() {
    all_hold(layers, &files("src", &["rs"]));
    assert_eq!(layers("src/log/x.rs", "use crate::mvcc::Mvcc;").len(), 1);
    assert_eq!(layers("src/log/x.rs", "fn f() { crate::watch::run(); }").len(), 1);
    assert_eq!(layers("src/error.rs", "use crate::os::file;").len(), 1);
    assert_eq!(layers("src/extra/x.rs", "").len(), 1);
    let fine = "use crate::error::Error;\nuse crate::os::file;\npub(crate) fn f() {}\n// crate::watch";
    assert_eq!(layers("src/log/x.rs", fine), Vec::<String>::new());
    assert!(layers("src/log/x.rs", "#[cfg(test)]\nuse crate::watch::X;").is_empty());
}

#[test]
fn unsafe_is_listed_and_explained() {
    all_hold(unsafe_code, &library());
    let names: Vec<String> = library().into_iter().map(|file| file.0).collect();
    assert!(UNSAFE.iter().all(|(name, _)| names.iter().any(|file| file == name)), "a listed file is gone");
    let explained = "// SAFETY: so it is.\nlet x = unsafe { y() };";
    assert_eq!(unsafe_code("src/watch/hub.rs", explained).len(), 1);
    assert_eq!(unsafe_code("src/os/wake.rs", "let x = unsafe { y() };").len(), 1);
    assert_eq!(unsafe_code("src/os/wake.rs", "unsafe impl Send for X {}").len(), 1);
    assert_eq!(unsafe_code("src/os/wake.rs", "#![allow(unsafe_code)]\nlet x = 1;").len(), 1);
    assert!(unsafe_code("src/os/wake.rs", explained).is_empty());
    assert!(unsafe_code("src/watch/hub.rs", "// unsafe\nlet unsafely = 1;").is_empty());
}

#[test]
fn files_functions_and_lines_are_short() {
    all_hold(sizes, &library());
    all_hold(sizes, &files("watchctl", &["rs"]));
    assert_eq!(sizes("x.rs", &"a\n".repeat(FILE_LINES)).len(), 1);
    assert!(sizes("x.rs", &"a\n".repeat(FILE_LINES - 1)).is_empty());
    assert_eq!(sizes("x.rs", &"a".repeat(CODE_COLUMNS + 1)).len(), 1);
    assert_eq!(sizes("x.rs", &format!("// {}", "a".repeat(COMMENT_COLUMNS))).len(), 1);
    assert!(sizes("x.rs", &"a".repeat(CODE_COLUMNS)).is_empty());
    let function = |lines: usize| {
        format!("    pub(super) fn f(\n    ) {{\n{}    }}\n", "        x;\n".repeat(lines - 3))
    };
    assert_eq!(sizes("x.rs", &function(FUNCTION_LINES + 1)).len(), 1);
    assert!(sizes("x.rs", &function(FUNCTION_LINES)).is_empty());
}

#[test]
fn sources_are_ascii() {
    let endings = ["rs", "h", "hpp", "c", "cpp", "py", "pyi", "sh", "toml"];
    let folders = ["src", "bindings", "tests", "include", "python", "demo", "watchctl"];
    let sources: Vec<_> = folders.iter().flat_map(|folder| files(folder, &endings)).collect();
    all_hold(ascii, &sources);
    assert_eq!(ascii("x.rs", "fine\n// 5 \u{b5}s\n"), ["x.rs:2: not ASCII"]);
}

#[test]
fn nothing_is_left_over() {
    all_hold(leftovers, &library());
    for bad in ["todo!()", "unimplemented!()", "dbg!(x)", "println!(\"\")", "eprintln!(\"\")", "#[ignore]"] {
        assert_eq!(leftovers("x.rs", bad).len(), 1, "{bad}");
    }
    assert_eq!(leftovers("x.rs", "#[cfg(test)]\nmod tests {\n    #[ignore]").len(), 1);
    assert!(leftovers("x.rs", "// println!\nwriteln!(out)\n#[cfg(test)]\nprintln!()").is_empty());
}

#[test]
fn every_file_is_named_by_a_mod() {
    assert_eq!(orphans(&library()), Vec::<String>::new());
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    let tree = [
        file("src/lib.rs", "mod a;\npub mod b;\n// mod d;"),
        file("src/a.rs", "pub(super) mod c;"),
        file("src/a/c.rs", ""),
        file("src/b/mod.rs", ""),
        file("src/d.rs", ""),
    ];
    assert_eq!(orphans(&tree), ["src/d.rs: no mod names it"]);
}

#[test]
fn error_codes_are_the_same_in_all_languages() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let complaints = [
        header_codes(&read("include/watch.h"), &codes()),
        python_codes(&read("python/libwatch/errors.py"), &codes()),
    ];
    assert_eq!(complaints.concat(), Vec::<String>::new());
    let two = BTreeMap::from([("WATCH_ERR_A", -1), ("WATCH_ERR_B", -2)]);
    assert!(header_codes(" WATCH_ERR_A = -1, /**< a */\n WATCH_ERR_B = -2\n", &two).is_empty());
    assert_eq!(header_codes("WATCH_ERR_A = -1,\nWATCH_ERR_B = -20,", &two).len(), 1);
    assert_eq!(header_codes("WATCH_ERR_A = -1,\nWATCH_ERR_B = -2,\nWATCH_ERR_C = -3,", &two).len(), 1);
    assert!(python_codes("    code = -1\n    code = -2\n", &two).is_empty());
    assert_eq!(python_codes("    code = -1\n", &two).len(), 1);
    assert_eq!(python_codes("    code = -1\n    code = -2\n    code = -2\n", &two).len(), 1);
    assert_eq!(python_codes("    code = -1\n    code = -2\n    code = -3\n", &two).len(), 1);
}
