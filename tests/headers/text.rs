//! From what cbindgen writes to what a person would: comments, tags, signs, initialisers.

/// The initialisers, in the form each language can check without a warning.
pub const INIT_MACRO: &str = r#"#ifndef REALM_INIT_
#ifdef __cplusplus
extern "C++" {
/* What REALM_INIT_ stands for in C++. */
template <class T> inline T realm_init_() {
    T value = T();
    value.struct_size = static_cast<uint32_t>(sizeof(T));
    value.abi_version = REALM_ABI_VERSION;
    return value;
}
}
/* For the macros below. */
#define REALM_INIT_(type) realm_init_<type>()
#else
/* For the macros below. */
#define REALM_INIT_(type) {.struct_size = (uint32_t)sizeof(type), .abi_version = REALM_ABI_VERSION}
#endif
#endif
"#;

/// A section as cbindgen wrote it, in house style.
pub fn tidy(text: &str) -> String {
    let mut out = String::new();
    let mut comment: Option<Vec<&str>> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        match (&mut comment, trimmed) {
            (None, "/*") => comment = Some(Vec::new()),
            (None, _) => push_code(&mut out, line),
            (Some(lines), "*/") => {
                let indent = line.len() - line.trim_start().len() - 1;
                push_comment(&mut out, &" ".repeat(indent), lines);
                comment = None;
            }
            (Some(lines), _) => lines.push(trimmed),
        }
    }
    out
}

/// One line of code: types without their tags, negative constants in parentheses.
fn push_code(out: &mut String, line: &str) {
    let mut line = if line.starts_with("typedef struct") || line.starts_with("typedef union") {
        line.to_owned()
    } else {
        line.replace("struct realm_", "realm_")
            .replace("union realm_", "realm_")
    };
    if let Some(at) = line.rfind(" -")
        && line.starts_with("#define ")
    {
        line = format!("{} ({})", &line[..at], &line[at + 1..]);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// A comment of one line, or of several with a border of stars.
fn push_comment(out: &mut String, indent: &str, lines: &[&str]) {
    // Emphasis is for rustdoc, and so is the section on safety: in C everything is unsafe, and the
    // header's introduction says what pointers must be.
    let end = lines.iter().position(|line| *line == "# Safety");
    let mut plain: Vec<String> = lines[..end.unwrap_or(lines.len())]
        .iter()
        .map(|line| line.replace("**", ""))
        .collect();
    while plain.last().is_some_and(String::is_empty) {
        plain.pop();
    }
    match plain.as_slice() {
        [line] if indent.len() + line.chars().count() <= 114 => {
            out.push_str(&format!("{indent}/* {line} */\n"));
        }
        lines => {
            for (i, line) in lines.iter().enumerate() {
                let border = if i == 0 { "/*" } else { " *" };
                out.push_str(format!("{indent}{border} {line}").trim_end());
                out.push('\n');
            }
            out.push_str(&format!("{indent} */\n"));
        }
    }
}

/// The names of the structs whose first field is `struct_size`, in the order of the header.
pub fn sized_structs(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut current = None;
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        if in_comment || line.starts_with("/*") {
            in_comment = !line.ends_with("*/");
        } else if let Some(rest) = line.strip_prefix("typedef struct ") {
            current = rest.strip_suffix(" {").map(str::to_owned);
        } else if let Some(name) = current.take()
            && line == "uint32_t struct_size;"
        {
            names.push(name);
        }
    }
    names
}

/// The first paragraph of a file's `//!` comment, on one line.
pub fn title(source: &str) -> String {
    let lines: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    lines.join(" ")
}

/// The names of the types that a source declares for C.
pub fn public_types(source: &str) -> Vec<String> {
    source
        .lines()
        .filter_map(|line| {
            let rest = line
                .strip_prefix("pub struct ")
                .or_else(|| line.strip_prefix("pub type "))?;
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            rest[..end]
                .starts_with("realm_")
                .then(|| rest[..end].to_owned())
        })
        .collect()
}

/// A source whose `mod name;` lines are empty modules, so that nobody follows them.
pub fn without_modules(source: &str) -> String {
    let emptied = |line: &str| {
        let name = line.trim().trim_start_matches("pub(crate) ");
        let name = name.trim_start_matches("pub ").strip_prefix("mod ")?;
        Some(format!("mod {} {{}}", name.strip_suffix(';')?))
    };
    let lines: Vec<String> = source
        .lines()
        .map(|line| emptied(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    lines.join("\n")
}
