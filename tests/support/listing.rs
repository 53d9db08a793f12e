//! What lies below a folder, for tests that compare all of it.

use std::{fs, path::Path};

/// All files below a folder with what their links say; sorted.
pub fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort_unstable();
    found
}

fn walk(root: &Path, folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().display();
        match entry.file_type().unwrap() {
            kind if kind.is_symlink() => {
                into.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            }
            kind if kind.is_dir() => walk(root, &path, into),
            _ => into.push(name.to_string()),
        }
    }
}
