// SPDX-License-Identifier: BSD-3-Clause

//! Writes the manual page of a function, in roff.

use std::collections::{BTreeMap, BTreeSet};

use crate::examples::Example;
use crate::header::{Function, Header, Value, is_word, words};
use crate::release::{self, History};

/// The width of a prototype, for a terminal of 80 columns.
const PROTOTYPE_WIDTH: usize = 70;
/// The width of a line of the page's source.
const LINE_WIDTH: usize = 78;

/// Calls of other manuals, with their sections.
const OTHERS: &[(&str, &str)] = &[
    ("epoll", "7"),
    ("poll", "2"),
    ("printf", "3"),
    ("syslog", "3"),
];

/// Calls without a page of their own, and the pages that are about them.
const ON_PAGES_OF: &[(&str, &str)] = &[
    ("ibv_wr_atomic_write", "ibv_wr_post"),
    ("ibv_wr_flush", "ibv_wr_post"),
    ("rdma_create_qp_ex", "rdma_create_qp"),
];

/// Names of parameters that are also words of a sentence: in italics only where an error is about them.
const ALSO_WORDS: &[&str] = &[
    "advice",
    "event",
    "function",
    "level",
    "offset",
    "port",
    "shared",
    "size",
    "supported",
    "threshold",
    "type",
    "usage",
];

/// Everything that the pages are made from.
pub(crate) struct Manual {
    pub(crate) header: Header,
    pub(crate) histories: BTreeMap<String, History>,
    pub(crate) examples: Vec<Example>,
}

impl Manual {
    /// The pages by their file names.
    pub(crate) fn pages(&self) -> BTreeMap<String, String> {
        let page = |function| Page::new(self, function).finish();
        self.header
            .functions
            .iter()
            .map(|function| (format!("{}.3", function.name), page(function)))
            .collect()
    }

    fn has_function(&self, name: &str) -> bool {
        self.header.functions.iter().any(|f| f.name == name)
    }
}

/// A page in the making.
struct Page<'a> {
    manual: &'a Manual,
    function: &'a Function,
    roff: String,
    /// The pages that the text names, for the section SEE ALSO: section and name.
    named: BTreeSet<(&'static str, String)>,
}

impl<'a> Page<'a> {
    fn new(manual: &'a Manual, function: &'a Function) -> Self {
        let name = &function.name;
        let roff = format!(
            ".\\\" SPDX-License-Identifier: BSD-3-Clause\n\
             .\\\" Made from librpma.h: UPDATE_MANPAGES=1 cargo test --test manpages\n\
             {}\n",
            release::title_line(&name.to_uppercase(), "3", "librpma manual"),
        );
        Self {
            manual,
            function,
            roff,
            named: BTreeSet::new(),
        }
    }

    fn finish(mut self) -> String {
        self.name_and_synopsis();
        self.description();
        self.return_value();
        self.errors();
        self.thread_safety();
        self.history();
        self.notes();
        self.examples();
        self.see_also();
        self.roff
    }

    fn section(&mut self, name: &str) {
        self.roff += &format!(".SH {name}\n");
    }

    fn text(&mut self, text: &str) {
        let text = self.in_roff(text, false);
        self.roff += &lines(&text);
    }

    fn paragraph(&mut self, text: &str) {
        self.roff.push_str(".PP\n");
        self.text(text);
    }

    fn item(&mut self, name: &str, text: &str, about_params: bool) {
        let text = self.in_roff(text, about_params);
        self.roff += &format!(".TP\n.B {name}\n{}", lines(&text));
    }

    fn name_and_synopsis(&mut self) {
        self.section("NAME");
        let summary = first_letter(&self.function.summary, char::to_ascii_lowercase);
        let summary = self.in_roff(summary.trim_end_matches('.'), false);
        // SEE ALSO is about the text of the page.
        self.named.clear();
        self.roff += &format!("{} \\- {summary}\n", self.function.name);
        self.section("SYNOPSIS");
        self.roff += &format!(
            ".nf\n.B #include <librpma.h>\n.PP\n{}.fi\n",
            prototype(self.function)
        );
    }

    fn description(&mut self) {
        let function = self.function;
        self.section("DESCRIPTION");
        for (index, paragraph) in function.description.iter().enumerate() {
            match index {
                0 => self.text(paragraph),
                _ => self.paragraph(paragraph),
            }
        }
        let errors = function.errors.iter().map(|(_, cause)| cause.clone());
        let text: Vec<String> = std::iter::empty()
            .chain(function.params.clone())
            .chain(function.description.clone())
            .chain(errors)
            .collect();
        // SEE ALSO has what the description names, not all that the meanings of the values name.
        let named = self.named.clone();
        for (heading, values) in self.manual.header.values_in(&text.join("\n")) {
            self.roff += &format!(".SS {heading}\n");
            for Value { name, meaning } in values {
                let meaning = match meaning.split(' ').next() {
                    Some(word) if word.contains('_') => meaning.clone(),
                    _ => first_letter(meaning, char::to_ascii_uppercase),
                };
                self.item(name, &format!("{meaning}."), false);
            }
        }
        self.named = named;
    }

    fn return_value(&mut self) {
        let name = &self.function.name;
        self.section("RETURN VALUE");
        let text = match (
            self.function.returns.as_str(),
            self.function.errors.is_empty(),
        ) {
            ("int ", false) if self.function.has_output() => format!(
                "\\fB{name}\\fR() returns 0 on success. On failure it returns one of the error codes below, \
                 and the output parameters are unchanged, unless the description says otherwise."
            ),
            ("int ", false) => format!(
                "\\fB{name}\\fR() returns 0 on success. On failure it returns one of the error codes below."
            ),
            ("int ", true) => format!("\\fB{name}\\fR() always returns 0."),
            _ => format!("\\fB{name}\\fR() returns a string, never NULL."),
        };
        self.roff += &lines(&text);
    }

    fn errors(&mut self) {
        let errors = &self.function.errors;
        if errors.is_empty() {
            return;
        }
        self.section("ERRORS");
        for (code, cause) in errors {
            self.item(code, cause, true);
        }
        if errors.iter().any(|(code, _)| code == "RPMA_E_PROVIDER") {
            self.paragraph(
                "After RPMA_E_PROVIDER, errno is the error number of the failed call, and the log names the call.",
            );
        }
    }

    fn thread_safety(&mut self) {
        let name = &self.function.name;
        self.section("THREAD SAFETY");
        let deletes = self.function.deletes();
        let text = match &self.function.thread_safety {
            Some(text) => text.clone(),
            None if deletes => format!(
                "{name} is thread-safe for different objects. No thread may use an object while another thread \
                 deletes it, or afterwards."
            ),
            None => format!("{name} is thread-safe."),
        };
        let text = text.replace(name.as_str(), &format!("\\fB{name}\\fR()"));
        self.roff += &lines(&text);
    }

    fn history(&mut self) {
        let name = &self.function.name;
        let History { first, last } = &self.manual.histories[name];
        self.section("HISTORY");
        let text = match last {
            None => format!("\\fB{name}\\fR() appeared in librpma {first}."),
            Some(last) => format!(
                "The original C library had \\fB{name}\\fR() in releases {first} to {last}. This library provides \
                 it for programs that were written for these releases."
            ),
        };
        self.roff += &lines(&text);
    }

    fn notes(&mut self) {
        if let Some(calls) = &self.function.calls {
            self.section("NOTES");
            let calls = match calls.rsplit_once(", ") {
                Some((first, last)) if first.contains(',') => format!("{first}, and {last}"),
                Some((first, last)) if !last.starts_with("or ") => format!("{first} and {last}"),
                _ => calls.clone(),
            };
            let calls = self.in_roff(&calls, false);
            self.roff += &lines(&format!("\\fB{}\\fR() calls {calls}.", self.function.name));
        }
    }

    fn examples(&mut self) {
        let name = &self.function.name;
        let on_page = |example: &&Example| example.pages.contains(name);
        let examples: Vec<&Example> = self.manual.examples.iter().filter(on_page).collect();
        if examples.is_empty() {
            return;
        }
        self.section("EXAMPLES");
        for (index, example) in examples.into_iter().enumerate() {
            if index > 0 {
                self.roff.push_str(".PP\n");
            }
            if example.page() == name {
                self.text(&example.text);
                self.roff += &format!(".PP\n.RS 4\n.EX\n{}.EE\n.RE\n", example.roff());
            } else {
                self.text(&format!(
                    "{} has this example: {}",
                    example.page(),
                    example.text
                ));
            }
        }
    }

    fn see_also(&mut self) {
        for name in &self.function.see_also {
            assert!(self.manual.has_function(name), "See: {name} is not known");
            self.named.insert(("3", name.clone()));
        }
        if self.roff.contains("O_NONBLOCK") {
            self.named.insert(("2", "fcntl".to_owned()));
        }
        self.named.remove(&("3", self.function.name.clone()));
        self.named.insert(("7", "librpma".to_owned()));
        self.section("SEE ALSO");
        let pages: Vec<String> = self
            .named
            .iter()
            .map(|(section, name)| format!(".BR {name} ({section})"))
            .collect();
        self.roff += &pages.join(",\n");
        self.roff.push('\n');
    }

    /// Text in roff: functions in bold with their section, constants in bold, parameters in italics.
    fn in_roff(&mut self, text: &str, about_params: bool) -> String {
        let text = text.replace(" - ", " \\- ").replace("->", "\\->");
        let mut out = String::new();
        let mut before = "";
        let mut rest = text.as_str();
        while let Some(start) = rest.find(is_word) {
            let (between, from) = rest.split_at(start);
            out.push_str(between);
            let end = from.find(|c| !is_word(c)).unwrap_or(from.len());
            let (word, mut after) = from.split_at(end);
            let is_type = before == "struct" || before == "enum";
            let is_param = self.function.param_names().any(|param| param == word);
            let is_member = between == "\\->";
            let is_word_too = ALSO_WORDS.contains(&word);
            if let Some((_, page)) = ON_PAGES_OF.iter().find(|(name, _)| *name == word) {
                self.named.insert(("3", (*page).to_owned()));
                out += &format!("\\fB{word}\\fR");
            } else if let Some(section) = self.page_of(word).filter(|_| !is_type && !is_param) {
                self.named.insert((section, word.to_owned()));
                out += &format!("\\fB{word}\\fR({section})");
            } else if word.ends_with('_') && after.starts_with('*') {
                after = &after[1..];
                out += &format!("\\fB{word}*\\fR");
            } else if is_type || is_constant(word) || self.function.name == word {
                out += &format!("\\fB{word}\\fR");
            } else if word == "errno"
                || is_member
                || is_param && (!is_word_too || about_params || between.ends_with('*'))
            {
                out += &format!("\\fI{word}\\fR");
            } else {
                out.push_str(word);
            }
            before = word;
            rest = after;
        }
        out + rest
    }

    /// The section of the manual that has a page of this name, other than this page.
    fn page_of(&self, word: &str) -> Option<&'static str> {
        let of_others = OTHERS.iter().find(|(name, _)| *name == word);
        if let Some((_, section)) = of_others {
            return Some(section);
        }
        let is_verbs = word.starts_with("ibv_") || word.starts_with("rdma_");
        let is_ours = self.manual.has_function(word) && word != self.function.name;
        (is_verbs || is_ours).then_some("3")
    }
}

/// A constant of this library or of verbs, an errno, or a flag.
fn is_constant(word: &str) -> bool {
    let is_errno = word.len() > 4 && word.starts_with('E') && word == word.to_uppercase();
    ["RPMA_", "IBV_", "O_", "RLIMIT_"]
        .iter()
        .any(|kind| word.starts_with(kind))
        || is_errno
}

/// The prototype in bold, with the names of its parameters in italics.
fn prototype(function: &Function) -> String {
    let mut prototype = format!("\\fB{}{}(", function.returns, function.name);
    let mut width = function.returns.len() + function.name.len() + 1;
    for (index, param) in function.params.iter().enumerate() {
        let last = index + 1 == function.params.len();
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

fn first_letter(text: &str, change: fn(&char) -> char) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| change(&first));
    first.into_iter().chain(letters).collect()
}

/// Each sentence begins on a line of its own, and long lines are broken, as is usual in roff.
fn lines(text: &str) -> String {
    let mut lines = String::new();
    for sentence in text.replace(". ", ".\n").lines() {
        let mut width = 0;
        for word in sentence.split(' ') {
            if width > 0 && width + 1 + word.len() > LINE_WIDTH {
                lines.push('\n');
                width = 0;
            } else if width > 0 {
                lines.push(' ');
                width += 1;
            }
            lines.push_str(word);
            width += word.len();
        }
        lines.push('\n');
    }
    lines
}
