//! What the reference of the configuration says of each key, so that an editor can show it.
//!
//! The document is the only place where keys are described; a test compares its tables with what the
//! loader asks for.

use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../../docs/reference/configuration.md");

/// What is said of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// What its value is.
    pub(super) value: &'static str,
    /// What counts where it is not written; may be empty.
    pub(super) default: &'static str,
    /// What it is for; may be empty.
    pub(super) meaning: &'static str,
}

/// The reference, by table and key.
#[derive(Debug, Default)]
pub(super) struct Reference {
    keys: BTreeMap<(String, &'static str), Said>,
    /// What tables are for.
    tables: BTreeMap<&'static str, String>,
}

impl Reference {
    /// Reads the document.
    pub(super) fn read() -> Self {
        let mut reference = Self::default();
        // The names of a table in messages are its headings.
        let mut table = "";
        let mut lines = REFERENCE.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
                table = match heading.trim_matches('`') {
                    "Top level" => "",
                    heading => heading,
                };
                lines.next_if(|line| line.is_empty());
                let mut paragraph = Vec::new();
                while let Some(line) =
                    lines.next_if(|line| !line.is_empty() && !line.starts_with(['|', '-', '`']))
                {
                    paragraph.push(line);
                }
                if !paragraph.is_empty() {
                    reference.tables.insert(table, paragraph.join(" "));
                }
            } else if let Some(row) = line.strip_prefix("| `") {
                reference.row(table, row);
            }
        }
        reference
    }

    /// What is said of a key of a table.
    pub(super) fn of(&self, table: &str, key: &'static str) -> Option<Said> {
        // Each has the keys of the first one.
        let table = table.replacen("[upstreams.NAME", "[upstream", 1);
        self.keys.get(&(table, key)).copied()
    }

    /// What is said of a table.
    pub(super) fn of_table(&self, table: &str) -> Option<&str> {
        self.tables.get(table).map(String::as_str)
    }

    fn row(&mut self, table: &'static str, row: &'static str) {
        let mut cells = row.trim_end_matches('|').split('|').map(str::trim);
        let Some(first) = cells.next() else { return };
        let first = first.trim_end_matches('`');
        let cells: Vec<&'static str> = cells.collect();
        let said = match *cells.as_slice() {
            [value, default, meaning] => Said {
                value,
                default,
                meaning,
            },
            [value, default] => Said {
                value,
                default,
                meaning: "",
            },
            [meaning] => Said {
                value: "",
                default: "",
                meaning,
            },
            _ => return,
        };
        let (table, key) = match (first.strip_prefix("{ "), first.split_once('.')) {
            // A requirement is shown as it is written.
            (Some(inline), _) => match inline.split_once(" = ") {
                Some((key, _)) => ("require".to_owned(), key),
                None => return,
            },
            (None, Some((table, key))) => (format!("[{table}]"), key),
            (None, None) => (table.to_owned(), first),
        };
        self.keys.entry((table, key)).or_insert(said);
    }
}

/// A text without its links, which lead nowhere from an editor.
pub(super) fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut open = Vec::new();
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '[' => {
                open.push(plain.len());
                plain.push(sign);
            }
            ']' => {
                let from = open.pop();
                match from {
                    Some(from) if signs.peek() == Some(&'(') => {
                        plain.remove(from);
                        signs.by_ref().find(|sign| *sign == ')');
                    }
                    _ => plain.push(sign),
                }
            }
            _ => plain.push(sign),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leaves_its_text_behind() {
        for (text, plain) in [
            ("see [below](#below)", "see below"),
            (
                "a [`[[template]]`](#template): a token",
                "a `[[template]]`: a token",
            ),
            (
                "`[]` stays, and (so) does [this]",
                "`[]` stays, and (so) does [this]",
            ),
            ("[two](a) [links](b)", "two links"),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }
}
