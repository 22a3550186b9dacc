// SPDX-License-Identifier: BSD-3-Clause

//! Compares every declaration with the C headers, by static assertions that a C compiler checks.
//!
//! `RDMA_SYS_INCLUDE` names a directory of headers to be used instead of the installed ones, and
//! `RDMA_SYS_NEWEST` says that they have everything that is declared here. What other headers lack is
//! printed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::declare::{Constant, Enum, Field, Function, Type};
use crate::{cm, verbs};

const HEADERS: &str = "#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <rdma/ib_user_verbs.h>
";

/// Grows at its front: the distance of a member from `context` is what stays.
const GROWS_AT_THE_FRONT: &str = "verbs_context";

fn types() -> impl Iterator<Item = &'static Type> {
    verbs::TYPES.iter().chain(cm::TYPES)
}

fn enums() -> impl Iterator<Item = &'static Enum> {
    verbs::ENUMS.iter().chain(cm::ENUMS)
}

fn functions() -> impl Iterator<Item = &'static Function> {
    verbs::FUNCTIONS.iter().chain(cm::FUNCTIONS)
}

/// What the C compiler says of this source, or nothing if it accepts it.
fn compile(source: &str) -> Result<(), String> {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(cc);
    command.args(["-std=gnu11", "-fsyntax-only", "-x", "c"]);
    if let Some(directory) = std::env::var_os("RDMA_SYS_INCLUDE") {
        command.arg("-isystem").arg(directory);
    }
    let mut child = command
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(source.as_bytes())
        .expect("the compiler reads its input");
    drop(input);
    let output = child.wait_with_output().expect("the compiler ends");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether the headers have a newer name, which this C expression contains.
fn has(expression: &str) -> bool {
    compile(&format!("{HEADERS}\nint has = sizeof({expression});\n")).is_ok()
}

/// The name in C of a field whose name is a word of Rust's, or a macro.
fn c_name(name: &str) -> &str {
    name.strip_suffix('_').unwrap_or(name)
}

/// The C type of a declared type.
fn c_place(declared: &Type) -> String {
    match declared.place {
        "" => format!("{} {}", declared.kind, declared.name),
        expression => format!("__typeof__({expression})"),
    }
}

/// The C type that a Rust type stands for, as a type name.
fn c_type(rust: &syn::Type) -> String {
    match rust {
        syn::Type::Ptr(pointer) => {
            let target = c_type(&pointer.elem);
            let is_const = matches!(pointer.mutability, syn::PointerMutability::Const(_));
            let qualifier = if is_const { "const " } else { "" };
            format!("{qualifier}__typeof__({target}) *")
        }
        syn::Type::Array(array) => {
            let syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Int(length),
                ..
            }) = &array.len
            else {
                panic!("an array's length is a number here");
            };
            format!("__typeof__({})[{length}]", c_type(&array.elem))
        }
        syn::Type::Path(path) => c_named(&path.path),
        _ => panic!("no C type is known for this kind of type"),
    }
}

fn c_named(path: &syn::Path) -> String {
    let names: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
    let last = path.segments.last().expect("a path has a name");
    if let [name] = &names[..] {
        let known = match name.as_str() {
            "c_char" => "char",
            "c_int" => "int",
            "c_uint" => "unsigned int",
            "c_void" => "void",
            "u8" => "uint8_t",
            "u16" => "uint16_t",
            "u32" => "uint32_t",
            "u64" => "uint64_t",
            "usize" => "size_t",
            "pthread_cond_t" | "pthread_mutex_t" | "socklen_t" => name,
            "Option" => {
                let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
                    panic!("an Option of a function");
                };
                let Some(syn::GenericArgument::Type(syn::Type::FnPtr(function))) =
                    arguments.args.first()
                else {
                    panic!("an Option of a function");
                };
                let (returns, arguments) = c_function(function);
                return format!("__typeof__({returns}) (*)({arguments})");
            }
            _ => "",
        };
        if !known.is_empty() {
            return known.into();
        }
        if let Some(declared) = types().find(|declared| declared.name == name) {
            return c_place(declared);
        }
        if enums().any(|declared| declared.name == name) {
            return format!("enum {name}");
        }
        return format!("struct {name}");
    }
    let [name, r#type] = &names[..] else {
        panic!("no C type is known for {names:?}");
    };
    assert_eq!(r#type, "Type", "the type of an enumeration");
    format!("enum {name}")
}

fn c_function(function: &syn::TypeFnPtr) -> (String, String) {
    let returns = match &function.output {
        syn::ReturnType::Default => "void".into(),
        syn::ReturnType::Type(_, returns) => c_type(returns),
    };
    let arguments: Vec<_> = function.inputs.iter().map(|a| c_type(&a.ty)).collect();
    let arguments = if arguments.is_empty() {
        "void".into()
    } else {
        arguments.join(", ")
    };
    (returns, arguments)
}

/// The assertions, and what they leave out.
#[derive(Default)]
struct Assertions {
    source: String,
    skipped: Vec<String>,
    /// The unnamed unions that a field was seen to have.
    unnamed: BTreeSet<&'static str>,
}

impl Assertions {
    fn add(&mut self, what: &str, condition: &str) {
        // One line each, whatever line breaks the source of a type has.
        let what = what.replace('"', "'").replace('\n', " ");
        writeln!(self.source, "_Static_assert({condition}, \"{what}\");")
            .expect("a String takes everything");
    }

    /// Whether a field or a constant is to be looked at: a newer one only where the headers have it.
    fn has(&mut self, what: &str, mark: &str, expression: &str) -> bool {
        let is_there = mark != "newer" || has(expression);
        if !is_there {
            self.skipped.push(what.into());
        }
        is_there
    }

    fn field_type(&mut self, what: &str, c: &str, field: &Field) {
        let rust = syn::parse_str(field.rust_type).expect("a type");
        let expected = c_type(&rust);
        let actual = format!("__typeof__((({c} *)0)->{})", c_name(field.name));
        let mut condition = format!("__builtin_types_compatible_p({actual}, {expected})");
        if expected == "uint64_t" {
            // The kernel's 64-bit types have another name for the same.
            write!(
                condition,
                " || __builtin_types_compatible_p({actual}, unsigned long long)"
            )
            .expect("a String takes everything");
        }
        self.add(&format!("type of {what}: {}", field.rust_type), &condition);
    }

    fn declared_type(&mut self, declared: &'static Type) {
        if declared.place == "unnamed" {
            return;
        }
        let c = c_place(declared);
        let origin = if declared.name == GROWS_AT_THE_FRONT {
            let last = declared.fields.last().expect("a field");
            (format!(" - offsetof({c}, {})", last.name), last.offset)
        } else {
            (String::new(), 0)
        };
        // Where the struct ends in these headers.
        let mut size = declared.size;
        for field in declared.fields {
            let what = format!("{}::{}", declared.name, field.name);
            let offset = field.offset as i128 - origin.1 as i128;
            if field.mark == "unnamed" {
                self.unnamed_union(&what, &c, field);
                continue;
            }
            let member = c_name(field.name);
            if !self.has(&what, field.mark, &format!("(({c} *)0)->{member}")) {
                size = size.min(field.offset);
                continue;
            }
            self.add(
                &format!("offset of {what}: {offset}"),
                &format!("(long)offsetof({c}, {member}){} == {offset}", origin.0),
            );
            self.field_type(&what, &c, field);
        }
        let what = format!("size of {}: {size}", declared.name);
        if declared.name == GROWS_AT_THE_FRONT {
            let size = size - origin.1;
            self.add(&what, &format!("(long)sizeof({c}){} == {size}", origin.0));
        } else {
            self.add(&what, &format!("sizeof({c}) == {size}"));
        }
    }

    /// The members of an unnamed union are members of the struct around it in C.
    fn unnamed_union(&mut self, what: &str, c: &str, field: &Field) {
        let union = types()
            .find(|declared| declared.name == field.rust_type && declared.place == "unnamed")
            .expect("an unnamed union");
        self.unnamed.insert(union.name);
        for inner in union.fields {
            let what = format!("{what}::{}", inner.name);
            let offset = field.offset + inner.offset;
            self.add(
                &format!("offset of {what}: {offset}"),
                &format!("offsetof({c}, {}) == {offset}", inner.name),
            );
            self.field_type(&what, c, inner);
        }
    }

    fn declared_enum(&mut self, declared: &Enum) {
        let mut has_one = false;
        for Constant { name, mark, value } in declared.constants {
            if self.has(name, mark, name) {
                has_one = true;
                self.add(
                    &format!("{name}: {value}"),
                    &format!("(__int128){name} == {value}"),
                );
            }
        }
        if declared.shape != "macros" && has_one {
            let name = declared.name;
            self.add(
                &format!("size of {name}: {}", declared.size),
                &format!("sizeof(enum {name}) == {}", declared.size),
            );
            self.add(
                &format!("sign of {name}: {}", declared.signed),
                &format!("((enum {name})-1 < 0) == {}", u8::from(declared.signed)),
            );
        }
    }

    fn function(&mut self, function: &Function) {
        let Function { name, rust_type } = function;
        let rust: syn::TypeFnPtr = syn::parse_str(rust_type).expect("a function's type");
        let (returns, arguments) = c_function(&rust);
        self.add(
            &format!("prototype of {name}"),
            &format!(
                "__builtin_types_compatible_p(__typeof__({name}), __typeof__({returns}) ({arguments}))"
            ),
        );
    }
}

#[test]
fn declarations_are_those_of_the_headers() {
    let mut assertions = Assertions::default();
    types().for_each(|declared| assertions.declared_type(declared));
    enums().for_each(|declared| assertions.declared_enum(declared));
    functions().for_each(|function| assertions.function(function));

    for declared in types().filter(|declared| declared.place == "unnamed") {
        assert!(
            assertions.unnamed.contains(declared.name),
            "no field is of the type {}",
            declared.name
        );
    }
    let count = assertions.source.lines().count();
    if let Err(message) = compile(&format!("{HEADERS}\n{}", assertions.source)) {
        panic!("the headers say otherwise:\n{message}");
    }
    println!("{count} assertions hold; skipped, for these headers lack them:");
    for name in &assertions.skipped {
        println!("    {name}");
    }
    if std::env::var_os("RDMA_SYS_NEWEST").is_some() {
        assert_eq!(assertions.skipped, [""; 0], "the newest headers have all");
    }
}

/// Only what is declared with the macros is in the tables.
#[test]
fn declarations_are_made_by_the_macros() {
    for (file, source) in [
        ("verbs.rs", include_str!("verbs.rs")),
        ("cm.rs", include_str!("cm.rs")),
    ] {
        for item in syn::parse_file(source).expect("Rust").items {
            match item {
                syn::Item::Use(_) => {}
                syn::Item::Macro(called) => {
                    let name = called.mac.path.get_ident().expect("a name").to_string();
                    assert!(
                        ["types", "enums", "functions", "opaque_types"].contains(&name.as_str()),
                        "{file}: {name}!"
                    );
                }
                _ => panic!("{file}: something is declared without a macro of declare.rs"),
            }
        }
    }
    for item in syn::parse_file(include_str!("inline.rs"))
        .expect("Rust")
        .items
    {
        assert!(
            matches!(
                item,
                syn::Item::Use(_) | syn::Item::Macro(_) | syn::Item::Fn(_)
            ),
            "inline.rs: functions only"
        );
    }
}
