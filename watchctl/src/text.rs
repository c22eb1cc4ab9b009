//! Dumps: a store as lines of JSON. `watchctl dump --help` has the grammar.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use libwatch::tools::{self, DumpChange, DumpItem, Loader, ProgressFn, VerifyReport};
use libwatch::{Error, ErrorCode, Result};
use serde_json::{Map, Value, json};

const VERSION: u64 = 1;

pub fn dump(store: &Path, progress: ProgressFn<'_>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut show = |item: DumpItem<'_>| written(writeln!(out, "{}", line(&item)));
    tools::dump(store, &mut show, progress)?;
    written(out.flush())
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| Error::io("write to stdout", &error))
}

fn line(item: &DumpItem<'_>) -> Value {
    match item {
        DumpItem::Begin { base_revision } => {
            json!({"libwatch_dump": VERSION, "base_revision": base_revision})
        }
        DumpItem::Base(entry) => {
            let mut object = put("key", entry);
            object.insert("mod_revision".into(), entry.mod_revision.into());
            json!({ "base": object })
        }
        DumpItem::Txn(revision, changes) => {
            let change = |change: &DumpChange<'_>| match change.delete {
                true => json!({"delete": text(change.key)}),
                false => Value::Object(put("put", change)),
            };
            json!({"revision": revision, "changes": changes.iter().map(change).collect::<Vec<_>>()})
        }
        DumpItem::End { revision, compact_revision } => {
            json!({"end": {"revision": revision, "compact_revision": compact_revision}})
        }
    }
}

fn put(verb: &str, change: &DumpChange<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert(verb.into(), text(change.key));
    object.insert("value".into(), text(change.value));
    object.insert("create_revision".into(), change.create_revision.into());
    object.insert("version".into(), change.version.into());
    if change.lease != 0 {
        object.insert("lease".into(), change.lease.into());
    }
    object
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}),
    }
}

pub fn load(file: &Path, new: &Path, progress: ProgressFn<'_>) -> Result<VerifyReport> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file);
        let opened = opened.map_err(|error| Error::io(format_args!("open {}", file.display()), &error))?;
        Box::new(BufReader::new(opened))
    };
    let mut loader = Loader::begin(new)?;
    for (number, line) in input.lines().enumerate() {
        let at = |error: &Error| Error::new(error.code(), format!("line {}: {error}", number + 1));
        let line = match line {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(at(&wrong("not UTF-8"))),
            read => read.map_err(|error| Error::io(format_args!("read {}", file.display()), &error)),
        }?;
        add(&mut loader, &line).map_err(|error| at(&error))?;
    }
    loader.finish(progress)
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, what)
}

fn add(loader: &mut Loader, line: &str) -> Result<()> {
    let value: Value = serde_json::from_str(line).map_err(|error| wrong(&format!("not JSON: {error}")))?;
    if let Some(version) = value.get("libwatch_dump") {
        if *version != VERSION {
            return Err(wrong(&format!("a dump of version {version}; this is version {VERSION}")));
        }
        let base_revision = number(&value, "base_revision")?;
        return loader.add(DumpItem::Begin { base_revision });
    }
    if let Some(end) = value.get("end") {
        let (revision, compact_revision) = (number(end, "revision")?, number(end, "compact_revision")?);
        return loader.add(DumpItem::End { revision, compact_revision });
    }
    if let Some(entry) = value.get("base") {
        let owned = Owned::of(entry, "key", number(entry, "mod_revision")?)?;
        return loader.add(DumpItem::Base(owned.change()));
    }
    let revision = number(&value, "revision")?;
    let Some(Value::Array(changes)) = value.get("changes") else { return Err(wrong("changes are missing")) };
    let owned: Vec<Owned> =
        changes.iter().map(|one| Owned::of(one, "put", revision)).collect::<Result<_>>()?;
    let changes: Vec<_> = owned.iter().map(Owned::change).collect();
    loader.add(DumpItem::Txn(revision, &changes))
}

/// A change with its bytes.
struct Owned {
    delete: bool,
    key: Vec<u8>,
    value: Vec<u8>,
    lease: i64,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
}

impl Owned {
    /// A put whose key is called `verb`, or a delete.
    fn of(object: &Value, verb: &str, mod_revision: i64) -> Result<Self> {
        if let Some(key) = object.get("delete") {
            let (key, value) = (bytes(key)?, Vec::new());
            let (lease, create_revision, version) = (0, 0, 0);
            return Ok(Self { delete: true, key, value, lease, create_revision, mod_revision, version });
        }
        let member =
            |name: &str| bytes(object.get(name).ok_or_else(|| wrong(&format!("{name} is missing")))?);
        Ok(Self {
            delete: false,
            key: member(verb)?,
            value: member("value")?,
            lease: if object.get("lease").is_some() { number(object, "lease")? } else { 0 },
            create_revision: number(object, "create_revision")?,
            mod_revision,
            version: number(object, "version")?,
        })
    }

    fn change(&self) -> DumpChange<'_> {
        DumpChange {
            delete: self.delete,
            key: &self.key,
            value: &self.value,
            lease: self.lease,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
        }
    }
}

fn number(object: &Value, name: &str) -> Result<i64> {
    object.get(name).and_then(Value::as_i64).ok_or_else(|| wrong(&format!("{name} is not a number")))
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    if let Value::String(text) = value {
        return Ok(text.clone().into_bytes());
    }
    let digits = value.get("hex").and_then(Value::as_str).filter(|digits| digits.len() % 2 == 0);
    let pair = |at: usize| {
        let pair = digits.and_then(|digits| digits.get(at..at + 2));
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let len = digits.map_or(0, str::len);
    let decoded: Option<Vec<u8>> = (0..len).step_by(2).map(pair).collect();
    decoded.filter(|_| digits.is_some()).ok_or_else(|| wrong("neither a string nor hex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd 1.6: keys and values are bytes.
    #[test]
    fn bytes_that_are_not_text_come_back_too() {
        for sample in [&b""[..], b"text", "\u{e4}\n\"".as_bytes(), b"\x00", b"\xff\x00", b"\xc3"] {
            assert_eq!(bytes(&text(sample)).unwrap(), sample);
        }
        assert_eq!(text(b"\xff\x00"), json!({"hex": "ff00"}));
        for bad in [json!(1), json!({"hex": "0"}), json!({"hex": "0g"}), json!({"hex": 1}), json!(null)] {
            assert!(bytes(&bad).is_err(), "{bad}");
        }
    }
}
