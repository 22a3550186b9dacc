// SPDX-License-Identifier: BSD-3-Clause

//! `doc/man/*.3`, a manual page for each function, are what the comments of `include/librpma.h`
//! say, in roff.
//!
//! `UPDATE_MANPAGES=1 cargo test --test manpages` writes them anew.

// A test fails by panicking.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// So wide a prototype may be, for a terminal of 80 columns.
const PROTOTYPE_WIDTH: usize = 70;

/// A function of the header, and what its comment says.
struct Function {
    name: String,
    /// `int ` or `const char *`
    returns: String,
    params: Vec<String>,
    summary: String,
    description: Vec<String>,
    thread_safety: Option<String>,
    /// Codes, with when they are returned.
    errors: Vec<(String, String)>,
    /// The other functions that the comment names.
    related: BTreeSet<String>,
}

fn functions(header: &str) -> Vec<Function> {
    let documented = header.split("/**\n").skip(1).filter_map(|commented| {
        let (comment, code) = commented.split_once(" */\n")?;
        let (prototype, _) = code.split_once(';')?;
        let (declared, params) = prototype.strip_suffix(')')?.split_once('(')?;
        let name_at = declared.rfind("rpma_")?;
        let is_function = ["int ", "const char *"].contains(&&declared[..name_at]);
        is_function.then(|| function(comment, declared.split_at(name_at), params))
    });
    documented.collect()
}

fn function(comment: &str, (returns, name): (&str, &str), params: &str) -> Function {
    let mut function = Function {
        name: name.to_owned(),
        returns: returns.to_owned(),
        params: params
            .split(',')
            .map(|param| param.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect(),
        summary: String::new(),
        description: Vec::new(),
        thread_safety: None,
        errors: Vec::new(),
        related: words(comment)
            .filter(|word| word.starts_with("rpma_") && *word != name)
            .map(str::to_owned)
            .collect(),
    };
    let text: Vec<&str> = comment
        .lines()
        .map(|line| line.trim_start_matches(" *").trim_start_matches(' '))
        .collect();
    for paragraph in text.join("\n").split("\n\n") {
        let line = paragraph.replace('\n', " ");
        if function.summary.is_empty() {
            function.summary = line;
        } else if let Some(errors) = line.strip_prefix("Errors: - ") {
            function.errors = errors
                .split(" - RPMA_E_")
                .map(|error| error.trim_start_matches("RPMA_E_"))
                .map(|error| error.split_once(": ").expect("a code and when it comes"))
                .map(|(code, when)| (format!("RPMA_E_{code}"), format!("{when}.")))
                .collect();
        } else if line.starts_with("Not thread-safe: ") {
            function.thread_safety = Some(line);
        } else if !line.starts_with("See: ") {
            function.description.push(line);
        }
    }
    function
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

impl Function {
    fn page(&self, known: &BTreeSet<String>, history: &str) -> String {
        let name = &self.name;
        let mut page = format!(
            ".\\\" SPDX-License-Identifier: BSD-3-Clause\n\
             .\\\" From the comments of librpma.h: UPDATE_MANPAGES=1 cargo test --test manpages\n\
             .TH {name} 3 \"\" \"\" librpma\n\
             .SH NAME\n{name} \\- {}\n\
             .SH SYNOPSIS\n.nf\n.B #include <librpma.h>\n.PP\n{}.fi\n\
             .SH DESCRIPTION\n",
            roff(&lower_case(&self.summary), known),
            self.prototype(),
        );
        let paragraphs: Vec<String> = std::iter::once(&self.summary)
            .chain(&self.description)
            .map(|paragraph| sentences(&roff(paragraph, known)))
            .collect();
        page.push_str(&paragraphs.join(".PP\n"));

        page.push_str(".SH RETURN VALUE\n");
        page.push_str(&match (self.returns.as_str(), self.errors.is_empty()) {
            ("int ", false) => format!(
                "\\fB{name}\\fR() returns 0 when it succeeds.\nOtherwise it returns one of the \
                 negative codes below and, where nothing else is said above, leaves output \
                 parameters as they were.\n"
            ),
            ("int ", true) => format!("\\fB{name}\\fR() returns 0.\n"),
            _ => format!("\\fB{name}\\fR() returns a string, never NULL.\n"),
        });
        if !self.errors.is_empty() {
            page.push_str(".SH ERRORS\n");
        }
        for (code, when) in &self.errors {
            page += &format!(".TP\n.B {code}\n{}\n", roff(when, known));
        }
        if page.contains(".B RPMA_E_PROVIDER\n") {
            page.push_str(
                ".PP\nAfter \\fBRPMA_E_PROVIDER\\fR, \\fIerrno\\fR is that of the call that \
                 failed; the log names the call and the reason.\n",
            );
        }

        page.push_str(".SH THREAD SAFETY\n");
        page.push_str(&match &self.thread_safety {
            Some(text) => sentences(&roff(text, known)),
            None => format!("\\fB{name}\\fR() is thread-safe.\n"),
        });
        page += &format!(".SH HISTORY\n{history}\n");
        page.push_str(".SH SEE ALSO\n");
        for related in self.related.intersection(known) {
            page += &format!(".BR {related} (3),\n");
        }
        page.push_str(".BR librpma (7)\n");
        page
    }

    /// The prototype in bold, with the names of its parameters in italics.
    fn prototype(&self) -> String {
        let mut prototype = format!("\\fB{}{}(", self.returns, self.name);
        let mut width = self.returns.len() + self.name.len() + 1;
        for (index, param) in self.params.iter().enumerate() {
            let last = index + 1 == self.params.len();
            if width + param.len() + 2 > PROTOTYPE_WIDTH {
                prototype.push_str("\n    ");
                width = 4;
            } else if index > 0 {
                prototype.push(' ');
            }
            let name = words(param).last().expect("a parameter has a name");
            let (kind, rest) = param.split_at(param.rfind(name).expect("it was found in there"));
            let rest = &rest[name.len()..];
            let end = if last { ");" } else { "," };
            prototype += &format!("{kind}\\fI{name}\\fB{rest}{end}");
            width += param.len() + 2;
        }
        prototype + "\\fR\n"
    }
}

/// The summary as a manual page has it behind the name: lower case, and no full stop.
fn lower_case(summary: &str) -> String {
    let mut letters = summary.trim_end_matches('.').chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Each sentence on a line of its own, as roff likes it.
fn sentences(text: &str) -> String {
    text.replace(". ", ".\n") + "\n"
}

/// Text in roff: functions with their section, constants in bold.
fn roff(text: &str, known: &BTreeSet<String>) -> String {
    let mut out = String::new();
    let mut before = "";
    let mut rest = text.replace('\\', "\\e").replace(" - ", " \\- ");
    rest.push(' ');
    let mut rest = rest.as_str();
    while let Some(word) = words(rest).next() {
        let is_verbs = word.starts_with("ibv_") || word.starts_with("rdma_");
        let is_constant = ["RPMA_", "IBV_"].iter().any(|kind| word.starts_with(kind));
        let is_errno = word.len() > 4 && word.starts_with('E') && word == word.to_uppercase();
        match word {
            _ if known.contains(word) || is_verbs && before != "struct" => {
                out += &format!("\\fB{word}\\fR(3)");
            }
            _ if is_constant || is_errno => out += &format!("\\fB{word}\\fR"),
            "errno" => out.push_str("\\fIerrno\\fR"),
            _ => out.push_str(word),
        }
        if !word.is_empty() {
            before = word;
        }
        rest = &rest[word.len()..];
        let Some(separator) = rest.chars().next() else {
            break;
        };
        out.push(separator);
        rest = &rest[separator.len_utf8()..];
    }
    out.trim_end().to_owned()
}

/// Which releases of the C library had each function, from `abi/functions.tsv`.
fn histories() -> BTreeMap<String, String> {
    let table = fs::read_to_string(Path::new(ROOT).join("abi/functions.tsv"))
        .expect("abi/functions.tsv can be read");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| {
        let mut cells = row.split('\t');
        let (name, first, last) = (cells.next()?, cells.next()?, cells.next()?);
        let releases = match last {
            "1.3.0" => format!("since release {first}"),
            last => format!("in releases {first} to {last}"),
        };
        Some((
            name.to_owned(),
            format!("In the original C library {releases}."),
        ))
    })
    .collect()
}

#[test]
fn the_committed_manual_pages_are_current() {
    let header = fs::read_to_string(Path::new(ROOT).join("include/librpma.h"))
        .expect("the header can be read");
    let functions = functions(&header);
    assert_eq!(functions.len(), 89, "functions with a comment");
    let known: BTreeSet<String> = functions.iter().map(|f| f.name.clone()).collect();
    let histories = histories();
    let pages: BTreeMap<String, String> = functions
        .iter()
        .map(|f| (format!("{}.3", f.name), f.page(&known, &histories[&f.name])))
        .collect();

    let directory = Path::new(ROOT).join("doc/man");
    if std::env::var_os("UPDATE_MANPAGES").is_some() {
        for (file, page) in &pages {
            fs::write(directory.join(file), page).expect("a page can be written");
        }
    }
    let stale: Vec<&String> = pages
        .iter()
        .filter(|(file, page)| fs::read_to_string(directory.join(file)).ok().as_ref() != Some(page))
        .map(|(file, _)| file)
        .collect();
    assert!(
        stale.is_empty(),
        "pages that are not what the header says: {stale:?}; write them anew with\n    \
         UPDATE_MANPAGES=1 cargo test --test manpages"
    );
    let committed = fs::read_dir(&directory)
        .expect("doc/man can be read")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|section| section == "3"));
    assert_eq!(
        committed.count(),
        pages.len(),
        "pages in doc/man, functions"
    );
}
