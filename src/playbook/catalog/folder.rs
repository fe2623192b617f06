//! Reading a folder of playbooks: which files count, how large they may be, and a cheap mark of whether they changed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::playbook::diagnostic::{Diagnostic, Diagnostics};
use crate::playbook::yaml::MAX_BYTES;

/// Most files read from one folder.
pub const MAX_FILES: usize = 1_000;

/// A playbook's text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
}

/// The playbook texts of a folder, by name; tests (`*.test.yaml`) and hidden files are left out.
///
/// # Errors
/// The folder or a file cannot be read, or there is no playbook in it; one `Diagnostics` per file.
pub fn read_folder(dir: &Path) -> Result<Vec<Source>, Vec<Diagnostics>> {
    let wrong = |path: &Path, message: String, help: Option<String>| {
        Diagnostics::new(vec![Diagnostic::of_file(&path.to_string_lossy(), message, help)])
    };
    let files = match list(dir) {
        Ok(files) => files,
        Err(error) => return Err(vec![wrong(dir, format!("the folder cannot be read: {error}"), None)]),
    };
    if files.is_empty() {
        let help = Some("a playbook is a file name.yaml; without any, every signal would be ignored".to_owned());
        return Err(vec![wrong(dir, "there is no playbook in this folder".into(), help)]);
    }
    if files.len() > MAX_FILES {
        return Err(vec![wrong(dir, format!("more than {MAX_FILES} playbooks in one folder"), None)]);
    }
    let mut sources = Vec::with_capacity(files.len());
    let mut failed = Vec::new();
    for path in files {
        match read(&path) {
            Ok(text) => sources.push(Source { file: path.to_string_lossy().into_owned(), text }),
            Err(message) => failed.push(wrong(&path, message, None)),
        }
    }
    if failed.is_empty() { Ok(sources) } else { Err(failed) }
}

/// Names, times and sizes of the playbooks of a folder; differs when one was added, removed or written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp(Option<Vec<(PathBuf, Option<SystemTime>, u64)>>);

impl Stamp {
    /// The stamp of a folder now; a folder that cannot be read has a stamp of its own.
    pub fn of(dir: &Path) -> Self {
        let marked = |path: PathBuf| {
            let known = fs::metadata(&path).ok();
            let written = known.as_ref().and_then(|known| known.modified().ok());
            let size = known.map_or(0, |known| known.len());
            (path, written, size)
        };
        Self(list(dir).ok().map(|files| files.into_iter().map(marked).collect()))
    }
}

fn list(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        let is_test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        // Follows links: a mounted configuration map is a folder of them. Pipes and devices are not read.
        if is_yaml && !is_test && !name.starts_with('.') && fs::metadata(&path).map_or(true, |known| known.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let cap = MAX_BYTES as u64 + 1;
    file.take(cap).read_to_end(&mut bytes).map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("the file has more than {MAX_BYTES} bytes, the most a playbook has"));
    }
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".into())
}
