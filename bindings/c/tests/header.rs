//! The committed header, the source, the exported symbols and the table of statuses say the same. Works on
//! files: the package has no library that a test could link.

#[path = "header/generate.rs"]
mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use libwatch::ErrorCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn tool(name: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{name} cannot run ({error}); it is in binutils"));
    assert!(
        output.status.success(),
        "{name} {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output is text")
}

/// libwatch.so of the profile that runs. cargo does not build it for tests, so it is built here.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(build_library).clone()
}

fn build_library() -> PathBuf {
    let program = env::current_exe().expect("path of the test");
    let profile = program.parent().and_then(Path::parent).expect("the profile's folder");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "watch-capi", "--target-dir"]);
    build.arg(profile.parent().expect("the target folder"));
    build.arg("--manifest-path").arg(root().join("Cargo.toml"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let output = build.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = profile.join("libwatch.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// `NAME = number` of every enumeration and `#define NAME number` of the header.
fn constants(header: &str) -> BTreeMap<String, i64> {
    let mut constants = BTreeMap::new();
    for line in header.lines().map(str::trim).filter(|line| !line.starts_with("/*")) {
        let pair = match line.strip_prefix("#define ") {
            Some(define) => define.split_once(' '),
            None if line.starts_with("WATCH_") => line.split_once(" = "),
            None => None,
        };
        let Some((name, text)) = pair else { continue };
        let text = text.split("/*").next().unwrap_or_default().trim().trim_end_matches(',');
        let number = match text.split_once(" << ") {
            Some((one, shift)) => {
                one.parse().ok().zip(shift.parse().ok()).map(|(one, by): (i64, u32)| one << by)
            }
            None => text.parse().ok(),
        };
        if let Some(number) = number {
            assert_eq!(constants.insert(name.to_owned(), number), None, "{name} is there twice");
        }
    }
    constants
}

/// Functions that the header declares and does not define itself.
fn declared(header: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in header.lines().filter(|line| !line.starts_with([' ', '#', '/', '}'])) {
        if line.starts_with("typedef") || line.starts_with("static") {
            continue;
        }
        if let Some((head, _)) = line.split_once('(') {
            names.insert(head.rsplit([' ', '*']).next().expect("a name").to_owned());
        }
    }
    names
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = generate::header(root());
    let path = "../../include/watch.h";
    if env::var_os("WATCH_BLESS").is_some() {
        fs::write(root().join(path), &generated).expect("write the header");
    }
    assert!(committed(path) == generated, "include/watch.h is stale; WATCH_BLESS=1 rewrites it");
    assert!(generated.is_ascii());
    let long: Vec<_> = generated.lines().filter(|line| line.len() > 110).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_header_the_list_and_the_library_name_the_same_functions() {
    let in_header = declared(&committed("../../include/watch.h"));
    let symbols: BTreeSet<_> = tool("nm", &["-D", "--defined-only"], &library())
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect();
    let list: Vec<_> = committed("exports.txt").lines().map(str::to_owned).collect();
    if env::var_os("WATCH_BLESS").is_some() {
        let sorted: Vec<_> = symbols.iter().map(String::as_str).collect();
        fs::write(root().join("exports.txt"), sorted.join("\n") + "\n").expect("write the list");
    }
    assert!(list.is_sorted(), "exports.txt is not sorted");
    assert_eq!(symbols, list.into_iter().collect(), "library against exports.txt");
    assert_eq!(symbols, in_header, "library against include/watch.h");
    assert!(symbols.len() > 30 && symbols.iter().all(|name| name.starts_with("watch_")), "{symbols:?}");
}

#[test]
fn the_statuses_of_the_header_are_the_codes_of_the_core() {
    let constants = constants(&committed("../../include/watch.h"));
    let statuses: BTreeMap<_, _> = constants
        .iter()
        .filter(|(name, _)| name.starts_with("WATCH_ERR_"))
        .map(|(n, v)| (n.as_str(), *v))
        .collect();
    let codes = ErrorCode::TABLE.iter().map(|(code, name, _)| (*name, i64::from(code.number()))).collect();
    assert_eq!(statuses, codes);
    assert_eq!((constants["WATCH_OK"], constants["WATCH_AGAIN"]), (0, 1));
    assert_eq!(constants["WATCH_ID_NONE"], libwatch::WATCH_ID_NONE);
}

#[test]
fn every_number_of_the_source_is_in_the_header_once() {
    let constants = constants(&committed("../../include/watch.h"));
    let (mut in_source, mut enumeration) = (BTreeMap::new(), false);
    for entry in fs::read_dir(root().join("src")).expect("src") {
        let source = fs::read_to_string(entry.expect("src").path()).expect("source");
        for line in source.lines() {
            enumeration = (enumeration || line.starts_with("pub enum ")) && line != "}";
            let text = line.trim();
            let pair = match text.strip_prefix("pub const WATCH_") {
                Some(rest) => {
                    rest.split_once(": u32 = ").map(|(name, number)| (format!("WATCH_{name}"), number))
                }
                None if enumeration => text.split_once(" = ").map(|(name, number)| (name.to_owned(), number)),
                None => None,
            };
            if let Some((name, number)) = pair {
                in_source.insert(name, number.trim_end_matches([',', ';']).to_owned());
            }
        }
    }
    assert_eq!(in_source.keys().collect::<Vec<_>>(), constants.keys().collect::<Vec<_>>());
    for (name, text) in &in_source {
        let number = constants[name];
        let written =
            text.strip_prefix("1 << ").map_or_else(|| text.parse::<i64>(), |by| Ok(1 << by.parse::<u32>()?));
        assert_eq!(written.ok(), Some(number), "{name}");
    }
}

#[test]
fn every_function_says_threads_and_blocking() {
    let header = committed("../../include/watch.h");
    let functions = declared(&header);
    assert!(functions.len() > 30, "{functions:?}");
    for name in functions {
        let at = header.find(&format!("{name}(")).expect("the declaration");
        let before = &header[..header[..at].rfind('\n').unwrap_or_default()];
        let comment = &before[before.rfind("/**").expect("a comment")..];
        assert!(comment.ends_with("*/"), "{name} has no comment");
        for word in ["Thr", "Blk"] {
            assert!(comment.contains(word), "the comment of {name} does not say {word}");
        }
    }
}

#[test]
fn the_library_has_its_name_and_stays_loaded() {
    let dynamic = tool("readelf", &["-d", "-W"], &library());
    let abi = constants(&committed("../../include/watch.h"))["WATCH_ABI_VERSION"];
    assert!(dynamic.contains(&format!("soname: [libwatch.so.{abi}]")), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}
