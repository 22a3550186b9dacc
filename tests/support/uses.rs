// SPDX-License-Identifier: BSD-3-Clause

//! Which file of a crate uses which, for tests of its layers.
//!
//! The sources are read as text: `use` declarations, and paths that begin with `crate`, `super`, `self`, a
//! module or an imported name. A name that a module only re-exports counts as used from the file that defines
//! it. Test modules do not count, and neither do methods: the type of one is named elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the library by their paths: `verbs::qp`; the root is "".
pub(crate) struct Crate(BTreeMap<String, Module>);

struct Module {
    /// Its file below `src/`. A module's submodules in a directory of its name are parts of it: `qp/native.rs`
    /// counts as `qp.rs`. The directories of the layers are no such modules.
    file: String,
    tokens: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    defined: BTreeSet<String>,
}

/// What a path leads to.
enum Target {
    Module(String),
    /// A name that this module defines.
    Item(String),
}

impl Crate {
    /// The library in `src/` of the package, without the files that `skip` names.
    pub(crate) fn read(skip: impl Fn(&str) -> bool) -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        list(&src, &mut files);
        assert!(!files.is_empty());
        let mut modules = BTreeMap::new();
        let mut tests = Vec::new();
        for file in &files {
            let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
            if skip(name) {
                continue;
            }
            let stem = name.strip_suffix(".rs").unwrap();
            let path = match stem {
                "lib" => String::new(),
                _ => stem.strip_suffix("/mod").unwrap_or(stem).replace('/', "::"),
            };
            let tokens = tokens(&fs::read_to_string(file).unwrap());
            tests.extend(test_files(&tokens).map(|test| child(&path, test)));
            modules.insert(path, Module::parse(name, tokens));
        }
        modules.retain(|path, _| {
            let is_in = |test: &String| path == test || path.starts_with(&format!("{test}::"));
            !tests.iter().any(is_in)
        });
        Self(modules)
    }

    /// All pairs of a file and another one that it uses, where files of a layer reach each other in a circle.
    pub(crate) fn circles(&self) -> BTreeSet<(String, String)> {
        let uses = self.uses();
        // All files that a file reaches: those that it uses, those that these use, until nothing is added.
        let mut reached = uses.clone();
        loop {
            let further: Vec<_> = reached
                .iter()
                .flat_map(|(from, over)| {
                    let over_to = uses.iter().filter(move |(user, _)| user == over);
                    over_to.map(move |(_, to)| (from.clone(), to.clone()))
                })
                .collect();
            let before = reached.len();
            reached.extend(further);
            if reached.len() == before {
                break;
            }
        }
        uses.into_iter()
            .filter(|(user, used)| reached.contains(&(used.clone(), user.clone())))
            .collect()
    }

    /// All pairs of a file and another one that it uses.
    pub(crate) fn uses(&self) -> BTreeSet<(String, String)> {
        let mut uses = BTreeSet::new();
        for (path, module) in &self.0 {
            // The root only names its modules.
            if path.is_empty() {
                continue;
            }
            for target in module
                .paths()
                .iter()
                .filter_map(|segments| self.resolve(path, segments, 0))
                .chain(self.by_glob(path, module))
            {
                let used = match target {
                    Target::Module(used) | Target::Item(used) => &self.0[&used].file,
                };
                // The root is nothing that could be used: a path that goes no further is none of ours.
                if *used != module.file && used != "lib.rs" {
                    uses.insert((module.file.clone(), used.clone()));
                }
            }
        }
        uses
    }

    /// Names that stand alone and that a glob of the module brings in.
    fn by_glob<'a>(
        &'a self,
        path: &'a str,
        module: &'a Module,
    ) -> impl Iterator<Item = Target> + 'a {
        module.globs.iter().flat_map(move |glob| {
            let Some(Target::Module(from)) = self.resolve(path, glob, 0) else {
                return Vec::new();
            };
            let alone = |at: usize| {
                at == 0 || !matches!(module.tokens[at - 1].as_str(), "." | "::" | "fn" | "mod")
            };
            let there = module.tokens.iter().enumerate().any(|(at, token)| {
                self.0[&from].defined.contains(token)
                    && !module.defined.contains(token)
                    && alone(at)
            });
            there.then_some(Target::Item(from)).into_iter().collect()
        })
    }

    /// What a path in a module leads to, if it is of this crate.
    fn resolve(&self, from: &str, segments: &[String], depth: usize) -> Option<Target> {
        // A name that is imported from itself by way of others is none that this test could follow.
        assert!(depth < 20, "{segments:?} in {from} leads nowhere");
        let (first, mut rest) = segments.split_first()?;
        let mut module = match first.as_str() {
            "crate" => String::new(),
            "self" => from.to_owned(),
            "super" => parent(from),
            name => {
                if self.0.contains_key(&child(from, name)) {
                    child(from, name)
                } else {
                    let import = self.0[from].imports.get(name)?;
                    if import.first() == Some(first) {
                        return None;
                    }
                    match self.resolve(from, import, depth + 1)? {
                        Target::Module(module) => module,
                        item @ Target::Item(_) => return Some(item),
                    }
                }
            }
        };
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            if name == "super" {
                module = parent(&module);
                continue;
            }
            let next = child(&module, name);
            if self.0.contains_key(&next) {
                module = next;
                continue;
            }
            let here = &self.0[&module];
            if here.defined.contains(name) {
                return Some(Target::Item(module));
            }
            if let Some(import) = here.imports.get(name) {
                match self.resolve(&module, import, depth + 1) {
                    Some(Target::Module(used)) => {
                        module = used;
                        continue;
                    }
                    Some(item) => return Some(item),
                    None => return Some(Target::Item(module)),
                }
            }
            for glob in &here.globs {
                match self.resolve(&module, glob, depth + 1) {
                    Some(Target::Module(used)) if self.0[&used].defined.contains(name) => {
                        return Some(Target::Item(used));
                    }
                    _ => {}
                }
            }
            return Some(Target::Item(module));
        }
        Some(Target::Module(module))
    }
}

fn parent(module: &str) -> String {
    module
        .rsplit_once("::")
        .map_or("", |(parent, _)| parent)
        .to_owned()
}

fn child(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        _ => format!("{module}::{name}"),
    }
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Module {
    fn parse(name: &str, tokens: Vec<String>) -> Self {
        let tokens = flat(without_tests(tokens));
        let file = match name.split('/').collect::<Vec<_>>()[..] {
            [layer, module, _] => format!("{layer}/{module}.rs"),
            _ => name.to_owned(),
        };
        let mut module = Self {
            file,
            imports: BTreeMap::new(),
            globs: Vec::new(),
            defined: BTreeSet::new(),
            tokens: Vec::new(),
        };
        let mut at = 0;
        while at < tokens.len() {
            match tokens[at].as_str() {
                // Not the bound `use<…>`.
                "use" if tokens.get(at + 1).is_some_and(|next| next != "<") => {
                    at += 1;
                    module.tree(&tokens, &mut at, &[]);
                }
                kind @ ("fn" | "struct" | "enum" | "union" | "trait" | "type" | "static"
                | "const") => {
                    // Not the type of a function, nor that of a pointer.
                    let constant = matches!(kind, "static" | "const");
                    if is_name(&tokens[at + 1]) && (!constant || tokens[at + 2] == ":") {
                        module.defined.insert(tokens[at + 1].clone());
                    }
                    module.tokens.push(tokens[at].clone());
                }
                "macro_rules" => {
                    module.defined.insert(tokens[at + 2].clone());
                }
                "mod" => {
                    if tokens.get(at + 2).is_some_and(|next| next == "{") {
                        module.defined.insert(tokens[at + 1].clone());
                    }
                    module.tokens.push(tokens[at].clone());
                }
                _ => module.tokens.push(tokens[at].clone()),
            }
            at += 1;
        }
        module
    }

    /// One tree of a `use` declaration, from `tokens[*at]` to the token after it.
    fn tree(&mut self, tokens: &[String], at: &mut usize, before: &[String]) {
        let mut path = before.to_vec();
        loop {
            match tokens[*at].as_str() {
                "{" => {
                    *at += 1;
                    while tokens[*at] != "}" {
                        self.tree(tokens, at, &path);
                        if tokens[*at] == "," {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    return;
                }
                "*" => {
                    *at += 1;
                    self.globs.push(path);
                    return;
                }
                "::" => {}
                "self" if !path.is_empty() => {}
                segment => path.push(segment.to_owned()),
            }
            *at += 1;
            match tokens[*at].as_str() {
                "as" => {
                    self.imports.insert(tokens[*at + 1].clone(), path);
                    *at += 2;
                    return;
                }
                "," | "}" | ";" => {
                    self.imports.insert(path[path.len() - 1].clone(), path);
                    return;
                }
                _ => {}
            }
        }
    }

    /// The paths outside of `use` declarations, and the imported names that stand alone. An import that nothing
    /// here uses is a re-export, and no use of the file that it comes from.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = at;
            let mut path = Vec::new();
            while is_name(&self.tokens[at]) {
                path.push(self.tokens[at].clone());
                if self.tokens.get(at + 1).is_some_and(|next| next == "::") {
                    at += 2;
                    if at == self.tokens.len() {
                        break;
                    }
                } else {
                    break;
                }
            }
            let goes_on = start > 0 && matches!(self.tokens[start - 1].as_str(), "." | "::");
            if !path.is_empty()
                && !goes_on
                && (path.len() > 1 || self.imports.contains_key(&path[0]))
            {
                paths.push(path);
            }
            at = (start + 1).max(at);
        }
        paths
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and all other characters one by one; no comments, no numbers, no content of strings.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if next == Some('*') => panic!("this test reads no comments of that form"),
            '"' => {
                at += 1;
                while chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
                tokens.push("\"".to_owned());
            }
            '#' if next == Some('"') => panic!("this test reads no raw strings"),
            // A character; otherwise a lifetime.
            '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => {
                at += if next == Some('\\') { 3 } else { 2 };
                while chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' => {
                at += 1;
                while chars[at].is_alphanumeric() || chars[at] == '_' {
                    at += 1;
                }
            }
            ':' if next == Some(':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            first if first.is_alphanumeric() || first == '_' => {
                let start = at;
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                tokens.push(chars[start..at].iter().collect());
            }
            space if space.is_whitespace() => at += 1,
            other => {
                tokens.push(other.to_string());
                at += 1;
            }
        }
    }
    tokens
}

/// The modules with a file of their own that are tests.
fn test_files(tokens: &[String]) -> impl Iterator<Item = &String> {
    const CFG: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let starts = (0..tokens.len()).filter(|&at| tokens[at..].starts_with(&CFG.map(str::to_owned)));
    starts.filter_map(|at| {
        let item = &tokens[at + CFG.len()..];
        let keyword = item.iter().take(5).position(|token| token == "mod")?;
        (item[keyword + 2] == ";").then(|| &item[keyword + 1])
    })
}

/// Modules inside a file are taken for a part of it: `super` in one of them is the file.
fn flat(tokens: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    // Where the braces are that are open, and whether they are those of a module.
    let mut open = Vec::new();
    for token in tokens {
        match token.as_str() {
            "{" => open.push(kept.len() >= 2 && kept[kept.len() - 2] == "mod"),
            "}" => {
                open.pop();
            }
            _ => {}
        }
        let is_super = token == "super" && kept.last().is_none_or(|last| last != "::");
        kept.push(match open.contains(&true) && is_super {
            true => "self".to_owned(),
            false => token,
        });
    }
    kept
}

/// Leaves out each item whose `#[cfg(…)]` leaves it out of the library.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&["#", "[", "cfg", "("].map(str::to_owned)) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += 4;
        let holds = holds(&tokens, &mut at);
        // The parenthesis and the bracket.
        at += 2;
        if holds {
            continue;
        }
        let mut open = 0;
        loop {
            match tokens[at].as_str() {
                "{" | "(" | "[" => open += 1,
                "}" | ")" | "]" => open -= 1,
                _ => {}
            }
            at += 1;
            if open == 0 && matches!(tokens[at - 1].as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// Whether the predicate from `tokens[*at]` to the token after it holds in the library: `test` and `loom` do
/// not.
fn holds(tokens: &[String], at: &mut usize) -> bool {
    let name = tokens[*at].as_str();
    *at += 1;
    if tokens[*at] == "=" {
        // Of a processor: each counts as the one that there is.
        *at += 2;
        return true;
    }
    if tokens[*at] != "(" {
        return !matches!(name, "test" | "loom");
    }
    *at += 1;
    let mut parts = Vec::new();
    while tokens[*at] != ")" {
        parts.push(holds(tokens, at));
        if tokens[*at] == "," {
            *at += 1;
        }
    }
    *at += 1;
    match name {
        "all" => parts.into_iter().all(|part| part),
        "any" => parts.into_iter().any(|part| part),
        "not" => !parts[0],
        _ => panic!("this test does not know cfg({name}(…))"),
    }
}
