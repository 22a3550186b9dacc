// SPDX-License-Identifier: BSD-3-Clause

//! Reads `include/librpma.h`: its functions, constants and enums, each with its comment.

use std::collections::BTreeMap;

/// What a manual page needs of the header.
#[derive(Default)]
pub(crate) struct Header {
    pub(crate) functions: Vec<Function>,
    /// The constants, in the order of the header.
    pub(crate) constants: Vec<Value>,
    /// The values of each enum.
    pub(crate) enums: BTreeMap<String, Vec<Value>>,
}

/// A constant, or a value of an enum.
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) meaning: String,
}

/// A function and the parts of its comment.
#[derive(Default)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// `int ` or `const char *`
    pub(crate) returns: String,
    pub(crate) params: Vec<String>,
    /// The first sentence, which is the text of the section NAME.
    pub(crate) summary: String,
    pub(crate) description: Vec<String>,
    /// The paragraph that begins with "Not thread-safe: ".
    pub(crate) thread_safety: Option<String>,
    /// The calls of libibverbs and librdmacm behind the function.
    pub(crate) calls: Option<String>,
    /// Codes and their causes.
    pub(crate) errors: Vec<(String, String)>,
    pub(crate) see_also: Vec<String>,
}

impl Header {
    pub(crate) fn read(header: &str) -> Self {
        let mut read = Self::default();
        let mut enum_name = None;
        let mut lines = header.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line == "};" {
                enum_name = None;
            }
            if line != "/**" {
                continue;
            }
            let comment: Vec<&str> = lines
                .by_ref()
                .take_while(|line| *line != "*/")
                .map(|line| line.trim_start_matches('*').trim_start())
                .collect();
            let comment = comment.join("\n");
            let Some(declared) = lines.next() else { break };
            let meaning = comment.replace('\n', " ");
            if let Some(define) = declared.strip_prefix("#define ") {
                let name = words(define).next().unwrap_or_default().to_owned();
                read.constants.push(Value { name, meaning });
            } else if let Some(name) = declared.strip_prefix("enum ") {
                let name = name.trim_end_matches(" {").to_owned();
                enum_name = Some(name);
            } else if let Some(of) = &enum_name {
                let name = words(declared).next().unwrap_or_default().to_owned();
                let values = read.enums.entry(of.clone()).or_default();
                values.push(Value { name, meaning });
            } else {
                let mut prototype = declared.to_owned();
                while !prototype.contains([';', '{']) {
                    let Some(line) = lines.next() else { break };
                    prototype.push(' ');
                    prototype.push_str(line);
                }
                read.functions.extend(Function::read(&comment, &prototype));
            }
        }
        read
    }

    /// The values that a page with this text explains, each list with its heading: all values of an enum that
    /// the text names as `enum NAME`, and all constants that it names as `PREFIX_*`.
    pub(crate) fn values_in(&self, text: &str) -> Vec<(String, Vec<&Value>)> {
        let mut lists = Vec::new();
        for (name, values) in &self.enums {
            let heading = format!("enum {name}");
            let mut named = text.match_indices(&heading);
            if named.any(|(at, _)| words(&text[at + 5..]).next() == Some(name)) {
                lists.push((heading, values.iter().collect()));
            }
        }
        let mut prefixes: Vec<&str> = Vec::new();
        for (at, _) in text.match_indices("_*") {
            let prefix = words_backwards(&text[..=at]);
            if prefix.starts_with("RPMA_") && !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        for prefix in prefixes {
            let values: Vec<&Value> = self
                .constants
                .iter()
                .filter(|constant| constant.name.starts_with(prefix))
                .collect();
            assert!(!values.is_empty(), "no constant begins with {prefix}");
            lists.push((format!("{prefix}*"), values));
        }
        lists
    }
}

impl Function {
    /// `None` for what is not a function, such as a type.
    fn read(comment: &str, prototype: &str) -> Option<Self> {
        let (declared, params) = prototype.strip_suffix(");")?.split_once('(')?;
        let name_at = declared.rfind("rpma_")?;
        let (returns, name) = declared.split_at(name_at);
        if !["int ", "const char *"].contains(&returns) {
            return None;
        }
        let mut function = Self {
            name: name.to_owned(),
            returns: returns.to_owned(),
            params: params
                .split(',')
                .map(|param| param.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect(),
            ..Self::default()
        };
        for paragraph in comment.split("\n\n") {
            function.add_paragraph(paragraph.replace('\n', " "));
        }
        Some(function)
    }

    fn add_paragraph(&mut self, text: String) {
        if self.summary.is_empty() {
            self.summary = text;
        } else if let Some(errors) = text.strip_prefix("Errors: - ") {
            let error = |error: &str| {
                let (code, cause) = error.split_once(": ").expect("a code and its cause");
                (code.to_owned(), format!("{cause}."))
            };
            self.errors = errors
                .replace(" - RPMA_E_", "\nRPMA_E_")
                .lines()
                .map(error)
                .collect();
        } else if let Some(functions) = text.strip_prefix("See: ") {
            self.see_also = functions.split(", ").map(str::to_owned).collect();
        } else if let Some(calls) = text.strip_prefix("Calls: ") {
            self.calls = Some(calls.to_owned());
        } else if text.starts_with("Not thread-safe: ") {
            self.thread_safety = Some(text);
        } else {
            self.description.push(text);
        }
    }

    pub(crate) fn deletes(&self) -> bool {
        let verbs = ["_delete", "_dereg", "_shutdown"];
        verbs.iter().any(|verb| self.name.ends_with(verb))
    }

    /// Whether the function writes anything through a pointer that it leaves alone when it fails.
    pub(crate) fn has_output(&self) -> bool {
        let is_output = |param: &String| {
            let pointers = param.matches('*').count();
            let is_handle = param.starts_with("struct rpma_") && pointers == 1;
            let is_plain = ["rpma_completion ", "rpma_conn_private_data "];
            pointers > 0
                && !param.starts_with("const ")
                && !param.starts_with("rpma_log_function")
                && !param.starts_with("struct ibv_context *ibv_ctx")
                && (!is_handle || is_plain.iter().any(|plain| param.contains(plain)))
        };
        !self.deletes() && self.params.iter().any(is_output)
    }

    pub(crate) fn param_names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().filter_map(|param| words(param).last())
    }
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_word(c))
        .filter(|word| !word.is_empty())
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word that the text ends with.
fn words_backwards(text: &str) -> &str {
    let rest = text.trim_end_matches(is_word);
    &text[rest.len()..]
}
