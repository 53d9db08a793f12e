//! The import graph of `src`, from the paths in the code. Re-exports are followed to the defining file, so a `mod.rs` that only
//! re-exports does not connect its submodules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::paths::{Paths, paths};

/// A module, by its path below the crate: `["hub", "xet"]`.
type Module = Vec<String>;

/// The files of a crate and the paths that each names.
pub struct Graph {
    files: BTreeMap<Module, (String, Paths)>,
}

impl Graph {
    /// Reads a `src` folder, without test-only code and without the crates below it.
    pub fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        add_files(src, src, &mut files);
        let tests: BTreeSet<Module> = files
            .iter()
            .flat_map(|(module, (_, paths))| paths.test_modules.iter().map(|name| child(module, name)))
            .collect();
        files.retain(|module: &Module, _| !(0..=module.len()).any(|end| tests.contains(&module[..end])));
        Self { files }
    }

    /// The import cycles: sets of files that import each other, directly or indirectly.
    pub fn cycles(&self) -> BTreeSet<BTreeSet<String>> {
        let reached: BTreeMap<_, _> =
            self.files.keys().map(|module| (module, self.reached(module))).collect();
        let circle = |module: &Module| -> BTreeSet<String> {
            let both_ways = |other: &&Module| reached[*other].contains(module);
            reached[module].iter().filter(both_ways).map(|module| self.files[module].0.clone()).collect()
        };
        self.files.keys().map(circle).filter(|circle| circle.len() > 1).collect()
    }

    /// The files of a module that use one of these crates or modules, or import a file that does, each with that file.
    pub fn trespasses(&self, room: &str, forbidden: &[&str]) -> BTreeSet<(String, String)> {
        let names_it = |module: &&Module| {
            self.files[*module].1.named.iter().any(|path| forbidden.contains(&path[0].as_str()))
        };
        let inside = self.files.keys().filter(|module| module.first().is_some_and(|first| first == room));
        let through = |module: &Module| {
            let mut all = self.reached(module);
            all.insert(module.clone());
            let from = self.files[module].0.clone();
            all.iter().filter(names_it).map(|at| (from.clone(), self.files[at].0.clone())).collect::<Vec<_>>()
        };
        inside.flat_map(through).collect()
    }

    /// The files of a module that use another module.
    pub fn uses(&self, room: &str, other: &str) -> BTreeSet<String> {
        let names_it = |module: &Module| {
            self.imports(module).iter().any(|to| to.first().is_some_and(|first| first == other))
        };
        let inside =
            self.files.iter().filter(|(module, _)| module.first().is_some_and(|first| first == room));
        inside.filter(|(module, _)| names_it(module)).map(|(_, (file, _))| file.clone()).collect()
    }

    /// The rooms with a file that names a crate.
    pub fn rooms_that_name(&self, name: &str) -> BTreeSet<String> {
        let names_it = |paths: &Paths| paths.named.iter().any(|path| path[0] == name);
        let files = self.files.iter().filter(|(_, (_, paths))| names_it(paths));
        files.filter_map(|(module, _)| module.first().cloned()).collect()
    }

    fn reached(&self, from: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from.clone()];
        while let Some(module) = open.pop() {
            open.extend(self.imports(&module).into_iter().filter(|to| reached.insert(to.clone())));
        }
        reached
    }

    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let named = &self.files[module].1.named;
        named.iter().filter_map(|path| self.resolve(module, path, 0)).filter(|to| to != module).collect()
    }

    /// The file that defines what a path of `module` names; none for a name of another crate.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, mut rest) = self.start(module, path)?;
        while let Some((first, behind)) = rest.split_first()
            && self.files.contains_key(&child(&at, first))
        {
            (at, rest) = (child(&at, first), behind);
        }
        let exported = rest.first().and_then(|name| self.files[&at].1.uses.get(name));
        // Limits recursion on names that import each other; real chains are shorter.
        match exported.filter(|_| depth < 8) {
            Some(path) => self.resolve(&at, path, depth + 1).or(Some(at)),
            None => Some(at),
        }
    }

    /// Where a path starts: the module, and what follows.
    fn start<'a>(&self, module: &Module, path: &'a [String]) -> Option<(Module, &'a [String])> {
        let first = path.first()?;
        match first.as_str() {
            "crate" => Some((Module::new(), &path[1..])),
            "self" => Some((module.clone(), &path[1..])),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                Some((module[..module.len().checked_sub(ups)?].to_vec(), &path[ups..]))
            }
            name => self.files.contains_key(&child(module, name)).then(|| (module.clone(), path)),
        }
    }
}

fn child(module: &[String], name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn add_files(src: &Path, folder: &Path, files: &mut BTreeMap<Module, (String, Paths)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.join("Cargo.toml").exists() {
            continue;
        }
        if path.is_dir() {
            add_files(src, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(src).unwrap();
            let names = below.with_extension("");
            let mut module: Module = names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
            let file = below.to_str().unwrap().to_owned();
            files.insert(module, (file, paths(&fs::read_to_string(&path).unwrap())));
        }
    }
}
